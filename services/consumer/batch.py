"""Gathering records into blocks, one partition at a time. Pure: the clock is passed in."""

import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from services.consumer.decode import Reason, Row, Stream, UndecodableError, user_of
from services.consumer.record import Record
from services.contracts.signals import DECODER_VERSION

OBJECT_OVERHEAD_BYTES = 700
"""Memory of a decoded row besides its text; counted, so that the byte limit is a memory limit."""


@dataclass(frozen=True)
class Limits:
    """A block is sealed at the first of these that it reaches."""

    rows: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Rejected:
    """A record for the quarantine."""

    record: Record
    reason: Reason
    detail: str
    user_id: int | None


@dataclass
class Block:
    """The offsets ``first..last`` (inclusive) of one partition: what is stored and committed as one."""

    stream: Stream
    epoch: int
    partition: int
    first: int
    last: int
    opened_at: float
    records: list[Record] = field(default_factory=list)
    """The raw records of ``rows``, in the same order, for the quarantine if ClickHouse refuses a row."""
    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    holes: list[range] = field(default_factory=list)
    """Offsets at which Kafka is known to have no record, ascending."""
    bytes: int = 0

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.stream.topic, self.partition

    def __len__(self) -> int:
        return len(self.rows) + len(self.rejected) + len(self.holes)

    def add(self, record: Record) -> None:
        """Decode one more record of the partition, later than all before."""
        self.last = record.offset
        self.bytes += len(record.key) + len(record.value) + OBJECT_OVERHEAD_BYTES
        try:
            row = self.stream.decode(record, self.epoch)
        except UndecodableError as error:
            self.rejected.append(Rejected(record, error.reason, error.detail, user_of(record)))
        except Exception as error:  # one record must not end the process; if there are many, the breaker does
            detail = f"the decoder failed: {type(error).__name__}"
            self.rejected.append(Rejected(record, Reason.INVALID, detail, user_of(record)))
        else:
            self.rows.append(row)
            self.records.append(record)

    def add_hole(self, hole: range) -> None:
        """Add offsets without a record, later than all before."""
        self.last = hole[-1]
        self.holes.append(hole)

    def is_due(self, limits: Limits, now: float) -> bool:
        """Whether the block has reached a limit."""
        return len(self) >= limits.rows or self.bytes >= limits.bytes or now - self.opened_at >= limits.seconds

    def halves(self) -> tuple["Block", "Block"]:
        """Return the good rows as two blocks without anything else, to find the row at fault."""
        middle = len(self.rows) // 2
        return (
            replace(self, rows=self.rows[:middle], records=self.records[:middle], rejected=[], holes=[]),
            replace(self, rows=self.rows[middle:], records=self.records[middle:], rejected=[], holes=[]),
        )


def open_block(stream: Stream, epoch: int, partition: int, first: int, now: float) -> Block:
    """Return a block that begins at offset ``first`` and holds nothing yet."""
    return Block(stream, epoch, partition, first, first - 1, now)


def token(epoch: int, partition: int, first: int, last: int, offsets: Iterable[int]) -> str:
    """Return the deduplication token of one insert: ``epoch:partition:first-last:crc``.

    The checksum covers the exact offsets inserted and the decoder's version. A token that is used again with other rows
    would silently drop them, so other rows must mean another token.

    >>> token(7, 0, 10, 12, [10, 12]) == token(7, 0, 10, 12, [10, 11, 12])
    False
    """
    crc = zlib.crc32(array("Q", offsets).tobytes(), DECODER_VERSION)
    return f"{epoch}:{partition}:{first}-{last}:{crc:08x}"

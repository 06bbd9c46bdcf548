"""From polled messages to blocks, each partition in offset order, without skipping any record.

Messages wait here as they were polled until a block has room for them, so that no block outgrows its limit, and so that
the next ones can be decoded while ClickHouse works on the last.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, Message

from services.consumer.batch import Block, Limits, open_block
from services.consumer.decode import Stream
from services.consumer.membership import Membership, Owned, Place, RestartError
from services.consumer.metrics import Metrics
from services.consumer.record import Record, record_of

log = logging.getLogger(__name__)

_TOPIC_ERRORS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}


_UNREADABLE = {
    KafkaError._BAD_MSG,
    KafkaError._BAD_COMPRESSION,
    KafkaError._UNDERFLOW,
    KafkaError._NOT_IMPLEMENTED,
}
"""Errors of Kafka's client for records that it cannot read and skips."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A partition's event between two of its messages."""

    place: Place
    end: int | None = None
    """Everything before this offset has been delivered; None: fetching was interrupted here."""
    unreadable: str = ""


class Intake:
    """Holds one open block per partition; all are due once together they hold ``held_rows`` or ``limits.bytes``."""

    def __init__(
        self,
        streams: Sequence[Stream],
        membership: Membership,
        metrics: Metrics,
        *,
        limits: Limits,
        held_rows: int,
        clock: Callable[[], float],
        until: Mapping[Place, int] | None = None,
    ) -> None:
        """``until``: take nothing from these offsets on, and nothing of other partitions."""
        self._until = until
        self._streams = {stream.topic: stream for stream in streams}
        self._membership = membership
        self._metrics = metrics
        self._limits = limits
        self._held_rows = held_rows
        self._clock = clock
        self._polled: deque[Record | _Mark] = deque()
        self._blocks: dict[Place, Block] = {}
        self.taken = 0
        """Records accepted so far; redeliveries count again."""

    @property
    def is_waited_for(self) -> bool:
        """Whether polled messages wait to be decoded."""
        return bool(self._polled)

    @property
    def is_holding(self) -> bool:
        """Whether anything is held that is not stored."""
        return bool(self._polled or self._blocks)

    @property
    def room(self) -> int:
        """How many more messages may be offered; 0 when as many are held as may be."""
        return max(0, self._held_rows - len(self._polled) - sum(map(len, self._blocks.values())))

    def offer(self, messages: Iterable[Message]) -> None:
        """Queue messages in the order in which they were polled.

        Raises:
            GapError: the broker no longer has the records that come next.
            RestartError: the client cannot go on, but a new one can.
        """
        for message in messages:
            error = message.error()
            if error is None:
                # Read only once: for headers whose names are not UTF-8, a second call of Kafka's client returns a list
                # with a NULL in it, and reading that crashes with SIGSEGV.
                self._polled.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._polled.append(_Mark(_place_of(message), message.offset()))
            elif error.code() in _UNREADABLE and message.topic() is not None:
                self._polled.append(_Mark(_place_of(message), unreadable=str(error)))
            else:
                self._on_error(error, message)

    def note_disturbance(self, places: Iterable[Place]) -> None:
        """Note that fetching of these partitions restarted, so that gaps in what comes next are checked twice."""
        self._polled.extend(_Mark(place) for place in places)

    def take_in(self, at_most: int | None = None) -> bool:
        """Decode waiting messages into the open blocks, until one is due; return whether any was taken."""
        now = self._clock()
        left = len(self._polled) if at_most is None else min(at_most, len(self._polled))
        taken: Counter[str] = Counter()
        try:
            while left and self._polled:
                left -= 1
                head = self._polled[0]
                place = head.place
                block = self._blocks.get(place)
                if block is not None and block.is_due(self._limits, now):
                    break
                self._polled.popleft()
                if isinstance(head, _Mark):
                    self._heed(head, now)
                elif self._take(place, head, block, now):
                    taken[place[0]] += 1
        finally:
            self.taken += taken.total()
            for topic, count in taken.items():  # once per call: a labelled metric costs as much as decoding a field
                self._metrics.consumed.labels(topic).inc(count)
        return bool(taken)

    def _take(self, place: Place, record: Record, block: Block | None, now: float) -> bool:
        """Add the record to its partition's block; return False if it is not for us."""
        owned = self._membership.owned.get(place)
        if owned is None or record.offset < owned.next:
            return False  # revoked meanwhile, or fetched before a seek
        if self._until is not None and record.offset >= self._until.get(place, 0):
            return False
        if record.offset > owned.next:
            if not self._pass_hole(place, owned, record.offset, now):
                return False
            block = self._blocks.get(place)
        if block is None:
            block = self._open(place, owned, now)
        block.add(record)
        owned.next = record.offset + 1
        owned.is_steady = True
        return True

    def _heed(self, mark: _Mark, now: float) -> None:
        owned = self._membership.owned.get(mark.place)
        if owned is None:
            return
        if mark.end is None:
            owned.is_steady = False
            owned.unreadable = mark.unreadable or owned.unreadable
        elif mark.end > owned.next and (self._until is None or mark.end <= self._until.get(mark.place, 0)):
            self._pass_hole(mark.place, owned, mark.end, now)

    def _pass_hole(self, place: Place, owned: Owned, until: int, now: float) -> bool:
        """Accept that the offsets before ``until`` have no record; return False to fetch them again first.

        Kafka's client skips transaction markers, aborted transactions and what compaction removed. But it has been seen
        to skip records after fetching restarted, so in that case we seek back once.
        """
        hole = range(owned.next, until)
        if not owned.is_steady and owned.sought != owned.next:
            owned.sought = owned.next
            log.info("%s/%d: offset %d arrived, %d was expected; fetching again", *place, until, owned.next)
            self._forget_polled([place])
            self._membership.go_back(place)
            self.note_disturbance([place])
            return False
        block = self._blocks.get(place) or self._open(place, owned, now)
        if owned.unreadable:
            log.error(
                "%s/%d: offsets %d to %d cannot be read, the audit will report them: %s",
                *place, hole[0], hole[-1], owned.unreadable,
            )  # fmt: skip
            block.last = hole[-1]
        else:
            block.add_hole(hole)
        owned.next, owned.is_steady, owned.unreadable = until, True, ""
        return True

    def _open(self, place: Place, owned: Owned, now: float) -> Block:
        block = open_block(self._streams[place[0]], owned.topic.epoch, place[1], owned.next, now)
        self._blocks[place] = block
        return block

    def _on_error(self, error: KafkaError, message: Message) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._membership.on_unavailable_offset(_place_of(message), error)
        elif error.fatal():
            raise RestartError(f"Kafka's client cannot go on: {error}")
        elif error.code() in _TOPIC_ERRORS:
            log.warning("a topic does not exist: %s", error)
        else:
            log.warning("Kafka: %s", error)

    def _forget_polled(self, places: Iterable[Place]) -> None:
        gone = set(places)
        self._polled = deque(waiting for waiting in self._polled if waiting.place not in gone)

    def drop(self, places: Iterable[Place]) -> None:
        """Drop everything held of these partitions."""
        self._forget_polled(places)
        self.of(places)

    def due(self) -> list[Block]:
        """Remove and return the blocks that have reached a limit; all blocks when together they hold too much."""
        blocks = self._blocks.values()
        if sum(map(len, blocks)) >= self._held_rows or sum(block.bytes for block in blocks) >= self._limits.bytes:
            return self.all()
        now = self._clock()
        return self.of([block.place for block in blocks if block.is_due(self._limits, now)])

    def all(self) -> list[Block]:
        """Remove and return all blocks."""
        return self.of(list(self._blocks))

    def of(self, places: Iterable[Place]) -> list[Block]:
        """Remove and return the blocks of these partitions."""
        return [block for place in places if (block := self._blocks.pop(place, None)) is not None]


def _place_of(message: Message) -> Place:
    topic, partition = message.topic(), message.partition()
    assert topic is not None, "an error of a partition names its topic"
    assert partition is not None, "and its number"
    return topic, partition

"""Blocks into ClickHouse. Everything here may be repeated: rows are identified by where they came from."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.driver.client import Client

from services.common.erasure import ERASED
from services.consumer.batch import Block, Rejected, token
from services.consumer.decode import OFFSET, USER, Row
from services.consumer.metrics import Metrics
from services.consumer.tracing import followed, ids_of
from services.contracts.signals import DECODER_VERSION
from services.contracts.tables import ABSENT_OFFSETS, ERASED_USERS, EVENTS_QUARANTINE

T = TypeVar("T")
log = logging.getLogger(__name__)

_QUARANTINE_COLUMNS = (
    "epoch", "partition", "offset", "topic", "record_time", "key", "value", "reason", "detail", "decoder_version",
    "user_id",
)  # fmt: skip
_ABSENT_COLUMNS = ("epoch", "partition", "offset", "reason")
NO_RECORD = "no_record"
"""The reason of offsets that Kafka gave to no record: a transaction's marker, what was aborted, compaction."""
LONGEST_LISTED_HOLE = 1_000
"""The offsets of longer ones are written by ClickHouse itself."""
INSERT_SETTINGS = {
    # A repeated block must repair its materialized view too: the crash may have come between the two.
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    # A block of a foreign producer's wild timestamps spans many months; that must not stop us.
    "max_partitions_per_insert_block": 0,
}


@dataclass(frozen=True)
class Split:
    """A block's records by where they go. Offsets of erased viewers are all that is kept of them."""

    good: Block
    rejected: list[Rejected]
    erased: list[int]


def _note_hole(client: Client, block: Block, hole: range) -> None:
    client.command(
        f"INSERT INTO {ABSENT_OFFSETS} ({', '.join(_ABSENT_COLUMNS)}) "  # noqa: S608
        f"SELECT {block.epoch}, {block.partition}, number, '{NO_RECORD}' FROM numbers({hole.start}, {len(hole)})"
    )


def _erased_users(client: Client) -> frozenset[int]:
    rows = client.query(f"SELECT DISTINCT user_id FROM {ERASED_USERS}").result_rows  # noqa: S608
    return frozenset(int(row[0]) for row in rows)


class Writer:
    """Inserts with one client, from one thread. Every method raises ClickHouse's errors as they come."""

    def __init__(
        self,
        connect: Callable[[], Client],
        metrics: Metrics,
        *,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``connect`` is called when first needed and after errors; it is never called by importing or building."""
        self._connect = connect
        self._client: Client | None = None
        self._types: dict[str, list[ClickHouseType]] = {}
        self._metrics = metrics
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._erased: frozenset[int] = frozenset()
        self._erased_at: float | None = None

    def split(self, block: Block) -> Split:
        """Split the block, taking the erased viewers from a list at most ``refresh_seconds`` old."""
        now = self._clock()
        if self._erased_at is None or now - self._erased_at >= self._refresh_seconds:
            self._erased, self._erased_at = self._do(_erased_users), now
        erased = self._erased
        if not any(row[USER] in erased for row in block.rows) and not any(
            bad.user_id in erased for bad in block.rejected
        ):
            return Split(replace(block, rejected=[], holes=[]), block.rejected, [])
        kept = [(row, record) for row, record in zip(block.rows, block.records, strict=True) if row[USER] not in erased]
        rejected = [bad for bad in block.rejected if bad.user_id not in erased]
        gone = [row[OFFSET] for row in block.rows if row[USER] in erased]
        gone += [bad.record.offset for bad in block.rejected if bad.user_id in erased]
        good = replace(
            block, rows=[row for row, _ in kept], records=[record for _, record in kept], rejected=[], holes=[]
        )
        return Split(good, rejected, sorted(gone))

    def note_holes(self, block: Block) -> None:
        """Enter offsets at which Kafka has no record, so that the audit adds up without them."""
        small = [hole for hole in block.holes if len(hole) <= LONGEST_LISTED_HOLE]
        if small:
            rows: list[Row] = [(block.epoch, block.partition, offset, NO_RECORD) for hole in small for offset in hole]
            self._insert(block, ABSENT_OFFSETS, _ABSENT_COLUMNS, rows)
        for hole in block.holes:
            if len(hole) > LONGEST_LISTED_HOLE:  # of a great transaction that was aborted, or compaction
                self._do(partial(_note_hole, block=block, hole=hole))

    def set_aside(self, block: Block, rejected: Sequence[Rejected], erased: Sequence[int]) -> None:
        """Store what does not belong into the stream's table; return once that is acknowledged."""
        if rejected:
            rows: list[Row] = [
                (
                    block.epoch, block.partition, bad.record.offset, block.stream.topic, bad.record.time_ms,
                    bad.record.key, bad.record.value, bad.reason.value, bad.detail, DECODER_VERSION, bad.user_id,
                )
                for bad in rejected
            ]  # fmt: skip
            self._insert(block, EVENTS_QUARANTINE, _QUARANTINE_COLUMNS, rows)
        if erased:
            absent: list[Row] = [(block.epoch, block.partition, offset, ERASED) for offset in erased]
            self._insert(block, ABSENT_OFFSETS, _ABSENT_COLUMNS, absent)
            self._metrics.erased.labels(block.stream.topic).inc(len(erased))
        for bad in rejected:
            self._metrics.quarantined.labels(bad.reason.value).inc()
            log.warning(
                "quarantined a record",
                extra={
                    "topic": block.stream.topic, "partition": block.partition, "offset": bad.record.offset,
                    "reason": bad.reason.value, "detail": bad.detail, **ids_of(bad.record),
                },
            )  # fmt: skip

    def store(self, block: Block) -> None:
        """Store the block's good rows; return once they are acknowledged."""
        if block.rows:
            with followed(block.records):
                self._insert(block, block.stream.table, block.stream.columns, block.rows)
            self._metrics.written.labels(block.stream.topic, str(block.partition)).inc(len(block.rows))

    def _insert(self, block: Block, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
        offsets = [row[OFFSET] for row in rows]
        settings = {
            **INSERT_SETTINGS,
            "insert_deduplication_token": token(block.epoch, block.partition, offsets[0], offsets[-1], offsets),
        }
        with self._metrics.insert_seconds.labels(table).time():
            self._do(lambda client: self._insert_with(client, table, columns, rows, settings))

    def _do(self, call: Callable[[Client], T]) -> T:
        if self._client is None:
            self._client = self._connect()
            self._types.clear()
        try:
            return call(self._client)
        except Exception:
            self._types.clear()  # the table may have been altered since we asked
            raise

    def _insert_with(
        self, client: Client, table: str, columns: tuple[str, ...], rows: Sequence[Row], settings: dict[str, Any]
    ) -> None:
        if table not in self._types:
            context = client.create_insert_context(table, column_names=columns)
            self._types[table] = list(context.column_types)
        client.insert(
            table,
            list(zip(*rows, strict=True)),
            column_names=columns,
            column_types=self._types[table],
            column_oriented=True,
            settings=settings,
        )

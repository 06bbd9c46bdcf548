"""Reads the topic `events` from ClickHouse: which offsets it has, and the latest version of what they changed."""

from collections.abc import Iterator, Mapping

import numpy as np
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from services.common import clickhouse
from services.common.audit import ACCOUNTED_FOR
from services.contracts.tables import ERASED_USERS, EVENTS, FILES_EPOCH
from services.inference.history.live import Change
from services.inference.history.spans import Spans

_ROW = np.dtype([("user_id", "<i8"), ("slot", "<i8"), ("low", "<u8"), ("high", "<u8")])
_OFFSETS_PER_QUERY = 250_000
_ROWS_PER_FOLD = 2_000

# Slot and version of an event as `services.inference.history.stamps.slot_and_version` has them; a test compares both.
_SLOT = (
    "bitOr(bitShiftLeft(item_id, 2), multiIf(action IN ('rate', 'unrate'), 1, action IN ('watch', 'unwatch'), 2, 0))"
)
_VALUE = (
    "toFloat32(multiIf(action = 'rate', ifNull(value, 0), action IN ('like', 'watch'), 1, action = 'dislike', -1, 0))"
)
_VERSION = (
    "bitOr(bitShiftLeft(toUInt128(toUnixTimestamp64Micro(event_time)), 64), toUInt128(bitOr(bitOr("
    "bitShiftLeft(toUInt64(bitAnd(toUInt128(event_id), 67108863)), 38), bitShiftLeft(toUInt64(decoder_version), 32)),"
    " toUInt64(reinterpretAsUInt32(" + _VALUE + ")))))"
)


class StoredEvents:
    """Has its own ClickHouse client; use it on one thread."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def connect(cls, url: SecretStr) -> "StoredEvents":
        """Return a reader with a time-out of 5 s.

        Raises:
            clickhouse_connect.driver.exceptions.Error: the server does not answer or refuses us.
        """
        # Errors then come as an HTTP status, never in the middle of a body.
        settings = {"wait_end_of_query": 1}
        return cls(
            clickhouse.connect(
                url, settings=settings, send_receive_timeout=5, query_retries=0, client_name="movierecs-live"
            )
        )

    def held(self, epoch: int, wanted: Spans) -> Spans:
        """Return the ``wanted`` offsets that ClickHouse accounts for: stored, quarantined or recorded as absent."""
        held = Spans()
        for partition, first, end in _pieces(wanted):
            union = " UNION ALL ".join(
                f"SELECT offset FROM {table} WHERE epoch = {epoch} AND partition = {partition}"  # noqa: S608
                f" AND offset >= {first} AND offset < {end}"
                for table in ACCOUNTED_FOR
            )
            # Offsets minus their rank are equal within a run without holes.
            runs = self._client.query(
                "SELECT min(offset), max(offset) + 1 FROM (SELECT offset, offset - row_number() OVER (ORDER BY offset)"  # noqa: S608
                f" AS run FROM (SELECT DISTINCT offset FROM ({union}))) GROUP BY run"
            ).result_rows
            for run_first, run_end in runs:
                held.add(partition, int(run_first), int(run_end))
        return held

    def changes(self, epoch: int, spans: Spans) -> Iterator[tuple[tuple[int, int, int], Iterator[list[Change]]]]:
        """Yield pieces of ``spans``, ``(partition, first, end)``, each with the changes of its events, in batches."""
        for partition, first, end in _pieces(spans):
            where = f"epoch = {epoch} AND partition = {partition} AND offset >= {first} AND offset < {end}"
            yield (partition, first, end), self._changes(where)

    def changes_of_other_topics(self, epoch: int, offsets: Mapping[int, int]) -> Iterator[list[Change]]:
        """Yield what came after ``offsets`` in a former incarnation of the topic, and everything in the others."""
        before = " OR ".join(f"(partition = {p} AND offset < {first})" for p, first in offsets.items()) or "0"
        return self._changes(f"epoch != {FILES_EPOCH} AND NOT (epoch = {epoch} AND ({before}))")

    def _changes(self, where: str) -> Iterator[list[Change]]:
        body = self._client.raw_query(
            f"SELECT user_id, {_SLOT} AS slot, max({_VERSION}) FROM {EVENTS} WHERE ({where})"  # noqa: S608
            f" AND user_id NOT IN (SELECT user_id FROM {ERASED_USERS}) GROUP BY user_id, slot",
            fmt="RowBinary",
        )
        rows = np.frombuffer(body, _ROW)
        for start in range(0, len(rows), _ROWS_PER_FOLD):
            part = rows[start : start + _ROWS_PER_FOLD]
            columns = (part[name].tolist() for name in ("user_id", "slot", "low", "high"))
            yield [(user, slot, high << 64 | low) for user, slot, low, high in zip(*columns, strict=True)]


def _pieces(spans: Spans) -> Iterator[tuple[int, int, int]]:
    """Yield the spans, split so that each response stays small."""
    for partition, first, end in spans:
        for start in range(first, end, _OFFSETS_PER_QUERY):
            yield partition, start, min(end, start + _OFFSETS_PER_QUERY)

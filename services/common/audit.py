"""Does ClickHouse hold every committed offset? The consumer checks continuously, training before it reads.

The law: per incarnation of a topic and per partition, the distinct offsets of [first, committed) that are in one of
the tables below are ``committed - first`` many. Offsets without a record (transaction markers, aborted transactions,
compaction) count as stored: the consumer records them as absent once its own position has passed them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from clickhouse_connect.driver.client import Client

from services.common.kafka import TopicIdentity
from services.contracts.tables import (
    ABSENT_OFFSETS,
    AUDIT_LEDGER,
    EVENTS,
    EVENTS_QUARANTINE,
    IMPRESSIONS,
    TOPIC_EPOCHS,
)

ACCOUNTED_FOR = (EVENTS, IMPRESSIONS, EVENTS_QUARANTINE, ABSENT_OFFSETS)
"""An epoch belongs to one topic, so all of these can be queried for any topic."""


@dataclass(frozen=True)
class Finding:
    """What an audit of ``[first, committed)`` of one partition found."""

    partition: int
    first: int
    committed: int
    missing: int


def missing(
    client: Client, topic: TopicIdentity, committed: Mapping[int, int], first: Mapping[int, int]
) -> dict[int, int]:
    """Return per partition of ``committed`` how many offsets of ``[first, committed)`` are in no table.

    Partitions without a ``first`` are taken from 0. Reads key columns only, about 30 million rows per second and core;
    roaring bitmaps keep the distinct count exact and small. Read ``committed`` before calling: rows precede commits.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    return {finding.partition: finding.missing for finding in audit(client, topic.epoch, committed, first)}


def audit(client: Client, epoch: int, committed: Mapping[int, int], first: Mapping[int, int]) -> list[Finding]:
    """Return a finding per partition of ``committed``, as `missing` does, by the topic's epoch."""
    ranges = {p: (first.get(p, 0), until) for p, until in sorted(committed.items())}
    wanted = {p: bounds for p, bounds in ranges.items() if bounds[0] < bounds[1]}
    stored: dict[int, int] = {}
    if wanted:
        where = " OR ".join(f"(partition = {p} AND offset >= {a} AND offset < {b})" for p, (a, b) in wanted.items())
        union = " UNION ALL ".join(
            f"SELECT partition, offset FROM {table} WHERE epoch = {epoch} AND ({where})"  # noqa: S608
            for table in ACCOUNTED_FOR
        )
        rows = client.query(f"SELECT partition, groupBitmap(offset) FROM ({union}) GROUP BY partition").result_rows  # noqa: S608
        stored = {int(partition): int(count) for partition, count in rows}
    return [Finding(p, a, b, max(0, b - a) - stored.get(p, 0)) for p, (a, b) in ranges.items()]


def first_offsets(client: Client, topic: TopicIdentity) -> dict[int, int]:
    """Return per partition the offset at which reading this incarnation began, without partitions never read."""
    rows = client.query(
        f"SELECT partition, first_offset FROM {TOPIC_EPOCHS} FINAL WHERE epoch = {topic.epoch}"  # noqa: S608
    ).result_rows
    return {int(partition): int(offset) for partition, offset in rows}


def note_first_offsets(client: Client, topic: TopicIdentity, first: Mapping[int, int]) -> None:
    """Record where reading this incarnation begins. Called before these offsets are committed."""
    client.insert(
        TOPIC_EPOCHS,
        [[topic.epoch, partition, topic.name, topic.topic_id, offset] for partition, offset in first.items()],
        column_names=["epoch", "partition", "topic", "topic_id", "first_offset"],
    )


def note_findings(
    client: Client, topic: str, epoch: int, *, scope: str, findings: list[Finding], now: datetime
) -> None:
    """Write findings to the ledger; ``scope`` is ``full`` or ``tail``, ``now`` is aware."""
    if findings:
        client.insert(
            AUDIT_LEDGER,
            [[now, topic, epoch, f.partition, scope, f.first, f.committed, f.missing] for f in findings],
            column_names=[
                "audited_at", "topic", "epoch", "partition", "scope", "from_offset", "committed", "missing",
            ],
        )  # fmt: skip

"""Metrics from the audit ledger in ClickHouse: missing offsets, and the time of the last audit."""

# ruff: noqa: S608 - only our own names and numbers go into the statements
from clickhouse_connect.driver.client import Client

from services.contracts.metrics import INGEST_AUDIT_LAST, INGEST_AUDIT_MISSING
from services.contracts.tables import AUDIT_LEDGER, TOPIC_EPOCHS
from services.exporter.gauges import Samples

# What a full audit found stays until a full audit finds it gone; a tail's finding counts at once. Of the incarnation
# that each topic has now. A year of them (8 million rows) takes half a second.
_AUDIT = f"""
    SELECT topic, partition, argMaxIf(missing, audited_at, scope = 'full' OR missing > 0) AS missing_now,
        toUnixTimestamp64Milli(max(audited_at)) / 1000 AS last
    FROM {AUDIT_LEDGER}
    WHERE (scope = 'full' OR missing > 0 OR audited_at >= now() - INTERVAL 1 DAY)
      AND (topic, epoch) IN (SELECT topic, argMax(epoch, noted_at) FROM {TOPIC_EPOCHS} GROUP BY topic)
    GROUP BY topic, partition
"""


def collect(client: Client) -> Samples:
    """Return the missing offsets per partition, and the time of each topic's last audit.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    rows = client.query(_AUDIT).result_rows
    last: dict[tuple[str, ...], float] = {}
    for topic, _, _, at in rows:
        last[(topic,)] = max(at, last.get((topic,), 0.0))
    return {
        INGEST_AUDIT_MISSING: {(topic, str(partition)): float(missing) for topic, partition, missing, _ in rows},
        INGEST_AUDIT_LAST: last,
    }

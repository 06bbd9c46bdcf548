"""Every Prometheus metric of the services, declared once: name, kind, help, labels, buckets.

`services.common.telemetry.instrument` makes the Prometheus object for a declaration. Names follow
the Prometheus conventions; labels never hold a user or an item id.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A declaration; counters are named with their ``_total``."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

# Ingest
EVENTS_PRODUCED = Metric("events_produced_total", "counter", "Events sent to Kafka, by outcome.", ("outcome",))
INGEST_RECORDS_CONSUMED = Metric("ingest_records_consumed_total", "counter", "Records polled.", ("topic",))
INGEST_ROWS_WRITTEN = Metric(
    "ingest_rows_written_total", "counter", "Rows that ClickHouse acknowledged.", ("topic", "partition")
)
INGEST_INSERT_SECONDS = Metric("ingest_insert_seconds", "histogram", "Time of one insert.", ("table",), LATENCY)
INGEST_BLOCK_ROWS = Metric(
    "ingest_block_rows", "histogram", "Rows of a sealed block.", ("topic",), (1, 10, 100, 1_000, 5_000, 10_000, 50_000)
)
INGEST_INSERT_RETRIES = Metric("ingest_insert_retries_total", "counter", "Inserts sent again, by reason.", ("code",))
INGEST_COMMIT_FAILURES = Metric("ingest_commit_failures_total", "counter", "Offset commits that failed.")
INGEST_REBALANCES = Metric("ingest_rebalances_total", "counter", "Partitions assigned, revoked, lost.", ("kind",))
INGEST_QUARANTINED = Metric("ingest_quarantined_total", "counter", "Records set aside, by reason.", ("reason",))

# Truth
INGEST_CONSUMER_LAG = Metric(
    "ingest_consumer_lag_messages", "gauge", "Records behind the topic's head.", ("topic", "partition")
)
INGEST_LAST_COMMITTED = Metric(
    "ingest_last_committed_event_timestamp_seconds", "gauge", "Kafka time of the last committed record.", ("topic",)
)
INGEST_RETENTION_HEADROOM = Metric(
    "ingest_retention_headroom_seconds", "gauge", "Time until retention overtakes the consumer.", ("topic",)
)
INGEST_AUDIT_MISSING = Metric(
    "ingest_audit_missing_offsets", "gauge", "Committed offsets that are not stored.", ("topic", "partition")
)
INGEST_AUDIT_LAST = Metric("ingest_audit_timestamp_seconds", "gauge", "When the last audit ended.", ("topic",))
INGEST_ERASED = Metric("ingest_erased_total", "counter", "Records of erased viewers that were not stored.", ("topic",))

# API
HTTP_REQUEST_SECONDS = Metric(
    "http_server_request_duration_seconds", "histogram", "Time of a request.", ("route", "method", "status"), LATENCY
)
HTTP_IN_FLIGHT = Metric("http_server_active_requests", "gauge", "Requests being answered.")
EVENTS_PUBLISH_SECONDS = Metric(
    "events_publish_seconds", "histogram", "Time until the broker acknowledged a request's events.", (), LATENCY
)

# Serving
RECOMMENDATIONS_SERVED = Metric(
    "recommendations_served_total", "counter", "Lists that were served.", ("strategy", "variant")
)
RECOMMENDATION_SECONDS = Metric(
    "recommendation_seconds", "histogram", "Scoring and ranking alone.", ("strategy",), FAST
)
IMPRESSIONS_DROPPED = Metric("impressions_dropped_total", "counter", "Impressions that could not be queued.")
LIVE_HISTORY_LAG = Metric(
    "live_history_lag_seconds", "histogram", "Time from Kafka's timestamp until an event was folded in.", (), LATENCY
)
LIVE_HISTORY_SKIPPED = Metric(
    "live_history_skipped_total", "counter", "Records of the topic that could not be folded in."
)

# Model
MODEL_INFO = Metric("model_info", "gauge", "1 for the model that is served.", ("version", "stage"))
MODEL_TRAINED_TIMESTAMP = Metric("model_trained_timestamp_seconds", "gauge", "When the served model was made.")
MODEL_RELOADS = Metric("model_reload_total", "counter", "Reloads, by outcome.", ("outcome",))
MODEL_METRIC = Metric("model_metric", "gauge", "Offline metrics of the served model.", ("name", "split"))

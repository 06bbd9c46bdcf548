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
    "ingest_rows_written_total", "counter", "Rows acknowledged by ClickHouse.", ("topic", "partition")
)
INGEST_INSERT_SECONDS = Metric("ingest_insert_seconds", "histogram", "Duration of one insert.", ("table",), LATENCY)
INGEST_BLOCK_ROWS = Metric(
    "ingest_block_rows", "histogram", "Rows in a sealed block.", ("topic",), (1, 10, 100, 1_000, 5_000, 10_000, 50_000)
)
INGEST_INSERT_RETRIES = Metric("ingest_insert_retries_total", "counter", "Insert retries, by reason.", ("code",))
INGEST_COMMIT_FAILURES = Metric("ingest_commit_failures_total", "counter", "Failed offset commits.")
INGEST_REBALANCES = Metric(
    "ingest_rebalances_total", "counter", "Rebalance callbacks, by kind: assigned, revoked, lost.", ("kind",)
)
INGEST_QUARANTINED = Metric("ingest_quarantined_total", "counter", "Records quarantined, by reason.", ("reason",))

# Delivery guarantee
INGEST_CONSUMER_LAG = Metric(
    "ingest_consumer_lag_messages", "gauge", "Consumer lag: records that are not committed yet.", ("topic", "partition")
)
INGEST_LAST_COMMITTED = Metric(
    "ingest_last_committed_event_timestamp_seconds",
    "gauge",
    "Kafka timestamp of the last committed record.",
    ("topic",),
)
INGEST_RETENTION_HEADROOM = Metric(
    "ingest_retention_headroom_seconds",
    "gauge",
    "Time until retention deletes records that are not consumed yet.",
    ("topic",),
)
INGEST_AUDIT_MISSING = Metric(
    "ingest_audit_missing_offsets", "gauge", "Committed offsets that ClickHouse does not hold.", ("topic", "partition")
)
INGEST_AUDIT_LAST = Metric("ingest_audit_timestamp_seconds", "gauge", "Time at which the last audit ended.", ("topic",))
INGEST_UNKNOWN_FILMS = Metric(
    "ingest_unknown_film_rows", "gauge", "Stored signals for films that are not in the catalogue."
)
INGEST_ERASED = Metric("ingest_erased_total", "counter", "Records of erased viewers that were skipped.", ("topic",))

# API
HTTP_REQUEST_SECONDS = Metric(
    "http_server_request_duration_seconds",
    "histogram",
    "Duration of a request.",
    ("route", "method", "status"),
    LATENCY,
)
HTTP_IN_FLIGHT = Metric("http_server_active_requests", "gauge", "Requests in progress.")
EVENTS_PUBLISH_SECONDS = Metric(
    "events_publish_seconds", "histogram", "Time until the broker acknowledged the events of a request.", (), LATENCY
)

# Serving
RECOMMENDATIONS_SERVED = Metric(
    "recommendations_served_total", "counter", "Recommendation lists served.", ("strategy", "variant")
)
RECOMMENDATION_SECONDS = Metric(
    "recommendation_seconds", "histogram", "Time to score and rank one list.", ("strategy",), FAST
)
IMPRESSIONS_DROPPED = Metric("impressions_dropped_total", "counter", "Impressions not delivered to Kafka.")
LIVE_HISTORY_LAG = Metric(
    "live_history_lag_seconds",
    "histogram",
    "Time from an event's Kafka timestamp until it was applied to the live history.",
    (),
    LATENCY,
)
LIVE_HISTORY_SKIPPED = Metric(
    "live_history_skipped_total", "counter", "Records of the topic that could not be applied to the live history."
)
LIVE_HISTORY_GAP = Metric(
    "live_history_gap_offsets",
    "gauge",
    "Offsets after the served model's extract that neither Kafka nor ClickHouse could supply.",
)

# Model
MODEL_INFO = Metric("model_info", "gauge", "1 for the model being served.", ("version", "stage"))
MODEL_TRAINED_TIMESTAMP = Metric(
    "model_trained_timestamp_seconds", "gauge", "Time at which the served model was trained."
)
MODEL_RELOADS = Metric("model_reload_total", "counter", "Reloads, by outcome.", ("outcome",))
MODEL_METRIC = Metric("model_metric", "gauge", "Offline metrics of the served model.", ("name", "split"))
MODEL_CHAMPION_INFO = Metric("model_champion_info", "gauge", "1 for the registry's champion.", ("version",))
MODEL_CHAMPION_TRAINED = Metric(
    "model_champion_trained_timestamp_seconds", "gauge", "Time at which the registry's champion was trained."
)
MODEL_OFFLINE_METRIC = Metric(
    "model_offline_metric", "gauge", "Offline metrics of the latest version in the registry.", ("version", "name")
)

# Recommendation quality, read from ClickHouse; `window` is 1h, 1d or 7d. The probe's viewer is left out.
LISTS_SHOWN = Metric(
    "recommender_lists_shown", "gauge", "Lists shown within the window.", ("model_version", "variant", "window")
)
LISTS_LIKED = Metric(
    "recommender_lists_liked",
    "gauge",
    "Lists shown within the window that got at least one like.",
    ("model_version", "variant", "window"),
)
CTR = Metric(
    "recommender_ctr_ratio",
    "gauge",
    "Click-through rate: share of the lists shown that got at least one like.",
    ("model_version", "variant", "window"),
)
CATALOGUE_COVERAGE = Metric(
    "recommender_catalogue_coverage_ratio", "gauge", "Share of the catalogue shown within the window.", ("window",)
)
NOVELTY = Metric(
    "recommender_novelty_bits", "gauge", "Mean self-information of the films shown: rarer is higher.", ("window",)
)

# Probe
LIKE_TO_LIST_SECONDS = Metric(
    "like_to_list_seconds", "histogram", "Time from a like until the viewer's list reflects it.", (), LATENCY
)
PROBE_ROUNDS = Metric("like_probe_rounds_total", "counter", "Rounds of the probe, by outcome.", ("outcome",))

# Exporter
DEPENDENCY_UP = Metric("dependency_up", "gauge", "1 if the exporter's last read succeeded.", ("dependency",))
EXPORTER_COLLECT_SECONDS = Metric("exporter_collect_seconds", "gauge", "Duration of the last collection.", ("part",))
EXPORTER_LAST_SUCCESS = Metric(
    "exporter_last_success_timestamp_seconds", "gauge", "Time of a part's last successful collection.", ("part",)
)

# The nightly run, as the trainer's steps record themselves in PostgreSQL
STEP_LAST_SUCCESS = Metric(
    "trainer_step_last_success_timestamp_seconds", "gauge", "Time at which a step last succeeded.", ("step",)
)
STEP_LAST_DURATION = Metric(
    "trainer_step_last_duration_seconds", "gauge", "Duration of the step's last run.", ("step",)
)
STEP_LAST_STATUS = Metric("trainer_step_last_exit_status", "gauge", "Exit status of the step's last run.", ("step",))

# Erasure, as PostgreSQL lists it
ERASURES_PENDING = Metric(
    "erasures_pending", "gauge", "Erased viewers whose data is still in models, run folders or landed files."
)
ERASURE_OLDEST_PENDING = Metric(
    "erasure_oldest_pending_seconds", "gauge", "Age of the oldest pending erasure; 0 if none is pending."
)

# Demo
UI_API_SECONDS = Metric(
    "ui_api_request_seconds",
    "histogram",
    "Duration of the demo's calls to the API.",
    ("route", "outcome"),
    LATENCY,
)

"""The exporter's parts and the stores that they read."""

from functools import partial

from prometheus_client import CollectorRegistry

from services.common import clickhouse, kafka, postgres
from services.contracts import metrics
from services.exporter import audit_ledger, lists, models, stream, unknown_films
from services.exporter.dependency import Dependency
from services.exporter.gauges import Gauges, Samples
from services.exporter.scheduler import Part, Scheduler
from services.exporter.settings import ExporterSettings

METRICS = (
    metrics.INGEST_CONSUMER_LAG,
    metrics.INGEST_LAST_COMMITTED,
    metrics.INGEST_RETENTION_HEADROOM,
    metrics.INGEST_AUDIT_MISSING,
    metrics.INGEST_AUDIT_LAST,
    metrics.INGEST_UNKNOWN_FILMS,
    metrics.LISTS_SHOWN,
    metrics.LISTS_LIKED,
    metrics.CTR,
    metrics.CATALOGUE_COVERAGE,
    metrics.NOVELTY,
    metrics.MODEL_CHAMPION_INFO,
    metrics.MODEL_CHAMPION_TRAINED,
    metrics.MODEL_OFFLINE_METRIC,
    metrics.STEP_LAST_SUCCESS,
    metrics.STEP_LAST_DURATION,
    metrics.STEP_LAST_STATUS,
    metrics.ERASURES_PENDING,
    metrics.ERASURE_OLDEST_PENDING,
    metrics.DEPENDENCY_UP,
    metrics.EXPORTER_COLLECT_SECONDS,
    metrics.EXPORTER_LAST_SUCCESS,
)
QUERY_SECONDS = 30
"""Time limit of a query to ClickHouse or PostgreSQL."""


def make_scheduler(settings: ExporterSettings, registry: CollectorRegistry) -> Scheduler:
    """Wire; nothing is connected yet."""
    broker = Dependency("kafka", lambda: kafka.admin(settings.kafka_bootstrap_servers))
    rows = Dependency(
        "clickhouse",
        lambda: clickhouse.connect(
            settings.clickhouse_url,
            send_receive_timeout=QUERY_SECONDS,
            query_retries=0,
            client_name="movierecs-exporter",
        ),
        lambda client: client.close(),
    )
    database = Dependency(
        "postgres", lambda: postgres.connect(settings.postgres_dsn), lambda connection: connection.close()
    )

    def collect_stream(topic: str) -> Samples:
        with broker.client() as admin:
            return stream.collect(admin, settings.kafka_bootstrap_servers, settings.consumer_group, topic)

    def collect_audit() -> Samples:
        with rows.client() as client:
            return audit_ledger.collect(client)

    def collect_models() -> Samples:
        with database.client() as connection, postgres.ended_after(connection, QUERY_SECONDS):
            return models.collect(connection)

    def collect_lists() -> Samples:
        with database.client() as connection, postgres.ended_after(connection, QUERY_SECONDS):
            films, confidence = models.films(connection), models.confidence(connection)
        with rows.client() as client:
            return lists.collect(client, len(films), confidence)

    def collect_unknown_films() -> Samples:
        with database.client() as connection, postgres.ended_after(connection, QUERY_SECONDS):
            films = models.films(connection)
        with rows.client() as client:
            return unknown_films.collect(client, films)

    topics = (settings.events_topic, settings.impressions_topic)
    soon, late = settings.exporter_interval_seconds, settings.exporter_lists_seconds
    parts = [
        *(Part(f"stream {topic}", soon, partial(collect_stream, topic)) for topic in topics),
        Part("audit", soon, collect_audit),
        Part("models", soon, collect_models),
        Part("lists", late, collect_lists),
        Part("unknown films", late, collect_unknown_films),
    ]
    return Scheduler(parts, (broker, rows, database), Gauges(METRICS, registry))

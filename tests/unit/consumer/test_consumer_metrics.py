"""With several consumers each shows what is its own."""

from prometheus_client import CollectorRegistry

from services.consumer.metrics import Metrics

PARTITION_GAUGES = ("ingest_consumer_lag_messages", "ingest_audit_missing_offsets")


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The gauge's values by topic and, if it has one, partition."""
    samples = [s for family in metrics.registry.collect() for s in family.samples if s.name == name]
    return {tuple(s.labels[label] for label in ("topic", "partition") if label in s.labels): s.value for s in samples}


def test_what_went_to_another_consumer_is_shown_no_more_and_the_rest_is() -> None:
    metrics = Metrics(CollectorRegistry())
    for gauge in (metrics.lag, metrics.audit_missing):
        for topic, partition in (("events", "0"), ("events", "1"), ("lists", "0")):
            gauge.labels(topic, partition).set(7)
    for by_topic in (metrics.retention_headroom, metrics.audit_last, metrics.last_committed):
        by_topic.labels("events").set(1)
        by_topic.labels("lists").set(2)

    metrics.keep_only([("events", 0), ("lists", 0)])
    for name in PARTITION_GAUGES:
        assert shown(metrics, name) == {("events", "0"): 7, ("lists", "0"): 7}
    assert shown(metrics, "ingest_retention_headroom_seconds") == {("events",): 1, ("lists",): 2}

    metrics.keep_only([("events", 0)])
    assert shown(metrics, "ingest_retention_headroom_seconds") == {("events",): 1}

    metrics.keep_only([])
    for name in (*PARTITION_GAUGES, "ingest_retention_headroom_seconds"):
        assert shown(metrics, name) == {}
    for name in ("ingest_audit_timestamp_seconds", "ingest_last_committed_event_timestamp_seconds"):
        assert shown(metrics, name) == {("events",): 1, ("lists",): 2}, "the latest of all consumers counts"

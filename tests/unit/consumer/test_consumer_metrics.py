"""With several consumers each shows what is its own."""

from prometheus_client import CollectorRegistry

from services.consumer.metrics import Metrics


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The gauge's values by topic and, if it has one, partition."""
    samples = [s for family in metrics.registry.collect() for s in family.samples if s.name == name]
    return {tuple(s.labels[label] for label in ("topic", "partition") if label in s.labels): s.value for s in samples}


def test_what_went_to_another_consumer_is_shown_no_more_and_the_rest_is() -> None:
    metrics = Metrics(CollectorRegistry())
    for topic, partition in (("events", "0"), ("events", "1"), ("lists", "0")):
        metrics.audit_missing.labels(topic, partition).set(7)
    metrics.audit_last.labels("events").set(1)
    metrics.audit_last.labels("lists").set(2)

    metrics.keep_only([("events", 0), ("lists", 0)])
    assert shown(metrics, "ingest_audit_missing_offsets") == {("events", "0"): 7, ("lists", "0"): 7}

    metrics.keep_only([])
    assert shown(metrics, "ingest_audit_missing_offsets") == {}
    assert shown(metrics, "ingest_audit_timestamp_seconds") == {("events",): 1, ("lists",): 2}, "the latest counts"

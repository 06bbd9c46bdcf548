"""Counters that alerts watch are there before their first event: Prometheus sees a rise only between two values."""

from prometheus_client import CollectorRegistry

from services.consumer.decode import Reason
from services.consumer.metrics import Metrics as ConsumerMetrics
from services.contracts.rest import Strategy
from services.inference.metrics import Metrics as InferenceMetrics


def test_every_strategy_and_every_outcome_is_counted_from_0() -> None:
    registry = CollectorRegistry()
    InferenceMetrics(registry)
    for strategy in Strategy:
        labels = {"strategy": strategy.value, "variant": "default"}
        assert registry.get_sample_value("recommendations_served_total", labels) == 0
    for outcome in ("swapped", "unchanged", "refused", "failed"):
        assert registry.get_sample_value("model_reload_total", {"outcome": outcome}) == 0
    for outcome in ("acknowledged", "unconfirmed", "refused"):
        assert registry.get_sample_value("events_produced_total", {"outcome": outcome}) == 0


def test_every_reason_of_quarantine_is_counted_from_0() -> None:
    registry = CollectorRegistry()
    ConsumerMetrics(registry)
    for reason in Reason:
        assert registry.get_sample_value("ingest_quarantined_total", {"reason": reason.value}) == 0

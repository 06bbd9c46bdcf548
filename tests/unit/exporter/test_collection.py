"""What is exported when collections succeed and fail, without any store."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.common.metrics_server import Heartbeat
from services.contracts.metrics import (
    CTR,
    DEPENDENCY_UP,
    EXPORTER_COLLECT_SECONDS,
    EXPORTER_LAST_SUCCESS,
    INGEST_CONSUMER_LAG,
    LISTS_SHOWN,
    MODEL_OFFLINE_METRIC,
)
from services.exporter.dependency import Dependency, NotFoundError
from services.exporter.gauges import Gauges, Samples
from services.exporter.scheduler import Part, Scheduler

SELF_METRICS = (DEPENDENCY_UP, EXPORTER_COLLECT_SECONDS, EXPORTER_LAST_SUCCESS)


class Store:
    """Answers, or does not."""

    def __init__(self) -> None:
        self.away = False
        self.opened = self.closed = 0

    def connect(self) -> "Store":
        if self.away:
            raise ConnectionRefusedError
        self.opened += 1
        return self

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_a_collection_replaces_all_series_of_its_part_and_no_others(registry: CollectorRegistry) -> None:
    gauges = Gauges((LISTS_SHOWN, INGEST_CONSUMER_LAG), registry)
    gauges.show("stream", {INGEST_CONSUMER_LAG: {("events", "0"): 0.0}})
    gauges.show("lists", {LISTS_SHOWN: {("a", "default", "1h"): 3.0, ("b", "default", "1h"): 1.0}})
    gauges.show("lists", {LISTS_SHOWN: {("b", "default", "1h"): 2.0}})
    labels = {"variant": "default", "window": "1h"}
    assert registry.get_sample_value("recommender_lists_shown", {"model_version": "a", **labels}) is None
    assert registry.get_sample_value("recommender_lists_shown", {"model_version": "b", **labels}) == 2
    assert registry.get_sample_value("ingest_consumer_lag_messages", {"topic": "events", "partition": "0"}) == 0


def test_a_metric_without_samples_is_still_declared(registry: CollectorRegistry) -> None:
    Gauges((CTR,), registry)
    assert b"# TYPE recommender_ctr_ratio gauge" in generate_latest(registry)


def test_only_declared_metrics_are_shown(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="recommender_ctr_ratio"):
        Gauges((LISTS_SHOWN,), registry).show("lists", {CTR: {}})


def test_after_a_stores_failure_its_last_values_stay_and_other_stores_are_read(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.exporter")
    stores = {"one": Store(), "two": Store()}
    dependencies = {name: Dependency(name, store.connect, Store.close) for name, store in stores.items()}
    counts = {"one": 0, "two": 0}

    def collect(name: str) -> Samples:
        with dependencies[name].client():
            counts[name] += 1
            return {INGEST_CONSUMER_LAG: {(name, "0"): float(counts[name])}}

    parts = [Part(name, 0, lambda name=name: collect(name)) for name in stores]  # type: ignore[misc]
    scheduler = Scheduler(parts, list(dependencies.values()), Gauges((INGEST_CONSUMER_LAG, *SELF_METRICS), registry))

    def collect_all() -> None:
        for part in parts:
            scheduler.collect(part)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("dependency_up", dependency="one") is None, "not read yet"
    collect_all()
    before = value("exporter_last_success_timestamp_seconds", part="one")
    stores["one"].away = True
    collect_all()
    collect_all()
    assert value("dependency_up", dependency="one") == 0
    assert value("dependency_up", dependency="two") == 1
    assert value("ingest_consumer_lag_messages", topic="one", partition="0") == 1
    assert value("ingest_consumer_lag_messages", topic="two", partition="0") == 3
    assert value("exporter_last_success_timestamp_seconds", part="one") == before
    stores["one"].away = False
    collect_all()
    assert value("dependency_up", dependency="one") == 1
    assert value("ingest_consumer_lag_messages", topic="one", partition="0") == 2
    assert [r.getMessage() for r in caplog.records] == ["one could not be read", "one can be read again"]
    assert stores["one"].opened == stores["one"].closed == 2


def test_an_invalid_answer_marks_the_store_down_and_closes_the_client() -> None:
    store = Store()
    dependency = Dependency("store", store.connect, Store.close)
    with pytest.raises(KeyError), dependency.client():
        raise KeyError
    assert (dependency.up, store.closed) == (False, 1)


def test_a_slow_part_is_collected_less_often(registry: CollectorRegistry) -> None:
    parts = [Part("slow", 0.001, lambda: time.sleep(0.05) or {}), Part("rare", 3600, dict)]  # type: ignore[func-returns-value]
    scheduler = Scheduler(parts, [], Gauges(SELF_METRICS, registry))
    start = time.monotonic()
    for part in parts:
        scheduler.collect(part)
    assert parts[0].due >= start + 2 * 0.05, "it pauses at least as long as it took"
    assert parts[1].due >= start + 3600
    assert registry.get_sample_value("exporter_collect_seconds", {"part": "slow"}) == pytest.approx(0.05, abs=0.04)


class Stop(BaseException):
    """Ends `Scheduler.run`, which nothing else does."""


class StoppingHeartbeat(Heartbeat):
    """Ends the scheduler once `done`; counts its beats."""

    def __init__(self, done: Callable[[], bool], at_most_seconds: float = 60) -> None:
        super().__init__(at_most_seconds=at_most_seconds)
        self.done, self.beats = done, 0

    def beat(self) -> None:
        self.beats += 1
        if self.done():
            raise Stop


def test_a_hanging_part_delays_no_other_and_fails_the_health_check(registry: CollectorRegistry) -> None:
    """A frozen ClickHouse once delayed Kafka's lag by its time-outs."""
    collected, hanging = [0], threading.Event()

    def collect() -> Samples:
        collected[0] += 1
        return {INGEST_CONSUMER_LAG: {("events", "0"): float(collected[0])}}

    parts = [Part("hangs", 0.01, lambda: hanging.wait(60) and {}), Part("stream", 0.01, collect)]  # type: ignore[arg-type,return-value]
    scheduler = Scheduler(parts, [], Gauges((INGEST_CONSUMER_LAG, *SELF_METRICS), registry))
    beating = StoppingHeartbeat(lambda: collected[0] > 20)
    with pytest.raises(Stop):
        scheduler.run(beating)
    shown = registry.get_sample_value("ingest_consumer_lag_messages", {"topic": "events", "partition": "0"})
    assert shown is not None
    assert shown > 20
    late = StoppingHeartbeat(lambda: False, at_most_seconds=0.2)
    threading.Thread(target=scheduler.run, args=(late,), daemon=True).start()
    time.sleep(1.5)
    before = late.beats
    time.sleep(1.5)
    assert late.beats == before, "the health check fails, so that the process is restarted"
    hanging.set()


def test_a_missing_topic_does_not_mark_the_store_down(registry: CollectorRegistry) -> None:
    store = Store()
    dependency = Dependency("store", store.connect, Store.close)

    def collect() -> Samples:
        with dependency.client():
            raise NotFoundError("there is no topic events")

    part = Part("stream events", 1, collect)
    Scheduler([part], [dependency], Gauges(SELF_METRICS, registry)).collect(part)
    assert dependency.up is True
    assert part.succeeded_at is None


@pytest.mark.parametrize("value", [None, "NDCG", [1.0], 10**400])
def test_a_value_that_cannot_be_exported_is_left_out_alone(registry: CollectorRegistry, value: Any) -> None:
    gauges = Gauges((MODEL_OFFLINE_METRIC,), registry)
    shown = {("v1", "ndcg"): 0.2, ("v1", "odd"): value, ("v\ud800", None): 0.5}
    gauges.show("models", {MODEL_OFFLINE_METRIC: shown})  # type: ignore[dict-item]
    text = generate_latest(registry).decode()
    assert 'name="ndcg",version="v1"} 0.2' in text
    assert 'version="v?"} 0.5' in text
    assert "odd" not in text

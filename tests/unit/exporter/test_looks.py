"""What is shown when looks succeed and fail, without any store."""

import logging
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.contracts.metrics import (
    CTR,
    DEPENDENCY_UP,
    EXPORTER_COLLECT_SECONDS,
    EXPORTER_LAST_SUCCESS,
    INGEST_CONSUMER_LAG,
    LISTS_SHOWN,
)
from services.exporter.dependency import Dependency
from services.exporter.gauges import Gauges, Samples
from services.exporter.loop import Loop, Part

ITSELF = (DEPENDENCY_UP, EXPORTER_COLLECT_SECONDS, EXPORTER_LAST_SUCCESS)


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


def test_what_a_part_no_longer_finds_ends_and_other_parts_stay(registry: CollectorRegistry) -> None:
    gauges = Gauges((LISTS_SHOWN, INGEST_CONSUMER_LAG), registry)
    gauges.show("stream", {INGEST_CONSUMER_LAG: {("events", "0"): 0.0}})
    gauges.show("lists", {LISTS_SHOWN: {("a", "default", "1h"): 3.0, ("b", "default", "1h"): 1.0}})
    gauges.show("lists", {LISTS_SHOWN: {("b", "default", "1h"): 2.0}})
    labels = {"variant": "default", "window": "1h"}
    assert registry.get_sample_value("recommender_lists_shown", {"model_version": "a", **labels}) is None
    assert registry.get_sample_value("recommender_lists_shown", {"model_version": "b", **labels}) == 2
    assert registry.get_sample_value("ingest_consumer_lag_messages", {"topic": "events", "partition": "0"}) == 0


def test_a_metric_without_a_sample_is_declared_all_the_same(registry: CollectorRegistry) -> None:
    Gauges((CTR,), registry)
    assert b"# TYPE recommender_ctr_ratio gauge" in generate_latest(registry)


def test_only_declared_metrics_are_shown(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="recommender_ctr_ratio"):
        Gauges((LISTS_SHOWN,), registry).show("lists", {CTR: {}})


def test_a_store_that_fails_keeps_its_last_values_and_stops_no_other(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.exporter")
    stores = {"one": Store(), "two": Store()}
    dependencies = {name: Dependency(name, store.connect, Store.close) for name, store in stores.items()}
    looks = {"one": 0, "two": 0}

    def look(name: str) -> Samples:
        with dependencies[name].client():
            looks[name] += 1
            return {INGEST_CONSUMER_LAG: {(name, "0"): float(looks[name])}}

    parts = [Part(name, 0, lambda name=name: look(name)) for name in stores]  # type: ignore[misc]
    loop = Loop(parts, list(dependencies.values()), Gauges((INGEST_CONSUMER_LAG, *ITSELF), registry))

    def turn() -> None:
        for part in parts:
            part.due = 0
        loop.turn()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("dependency_up", dependency="one") is None, "nobody has looked"
    turn()
    before = value("exporter_last_success_timestamp_seconds", part="one")
    stores["one"].away = True
    turn()
    turn()
    assert value("dependency_up", dependency="one") == 0
    assert value("dependency_up", dependency="two") == 1
    assert value("ingest_consumer_lag_messages", topic="one", partition="0") == 1
    assert value("ingest_consumer_lag_messages", topic="two", partition="0") == 3
    assert value("exporter_last_success_timestamp_seconds", part="one") == before
    stores["one"].away = False
    turn()
    assert value("dependency_up", dependency="one") == 1
    assert value("ingest_consumer_lag_messages", topic="one", partition="0") == 2
    assert [r.getMessage() for r in caplog.records] == ["one could not be read", "one can be read again"]
    assert stores["one"].opened == stores["one"].closed == 2


def test_an_answer_that_cannot_be_understood_counts_against_the_store_and_closes_the_client() -> None:
    store = Store()
    dependency = Dependency("store", store.connect, Store.close)
    with pytest.raises(KeyError), dependency.client():
        raise KeyError
    assert (dependency.up, store.closed) == (False, 1)


def test_a_part_is_looked_at_when_it_is_due_and_a_slow_one_less_often(registry: CollectorRegistry) -> None:
    looked = []

    def slow() -> Samples:
        looked.append("slow")
        time.sleep(0.05)
        return {}

    def rare() -> Samples:
        looked.append("rare")
        return {}

    parts = [Part("slow", 0.001, slow), Part("rare", 3600, rare)]
    loop = Loop(parts, [], Gauges(ITSELF, registry))
    start = time.monotonic()
    loop.turn()
    loop.turn()
    assert looked == ["slow", "rare"]
    assert parts[0].due >= start + 2 * 0.05, "it rests at least as long as it took"
    assert parts[1].due >= start + 3600
    assert registry.get_sample_value("exporter_collect_seconds", {"part": "slow"}) == pytest.approx(0.05, abs=0.04)

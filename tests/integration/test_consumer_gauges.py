"""The gauges of partitions with several consumers, and while ClickHouse is away."""

import re
from pathlib import Path
from typing import cast

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, TopicPartition
from prometheus_client import CollectorRegistry

from infra.local.readiness import http_body
from services.common.kafka import admin, describe_topic
from services.consumer.ingestion import Ingestion
from services.consumer.membership import Owned
from services.consumer.metrics import Metrics
from services.consumer.watch import Watch
from tests.support.pipeline import Pipeline, event
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.services import KafkaServer


@pytest.fixture
def pipeline(kafka: KafkaServer, clickhouse_database: str, tmp_path: Path) -> Pipeline:
    return Pipeline(kafka.bootstrap, clickhouse_database, tmp_path)


def test_a_partition_is_shown_by_the_one_consumer_that_has_it(pipeline: Pipeline) -> None:
    pipeline.make_topics()
    pipeline.settings |= {"CONSUMER_AUDIT_SECONDS": "1", "CONSUMER_AUDIT_FULL_SECONDS": "1"}
    pipeline.produce([event(n) for n in range(100)])
    ports = [free_port(), free_port()]
    first, second = (pipeline.consumer(f"consumer-{p}", CONSUMER_METRICS_PORT=str(p)) for p in ports)
    everything = set(map(str, range(pipeline.partitions)))

    def partitions(port: int, gauge: str) -> set[str]:
        text = http_body(f"http://127.0.0.1:{port}/metrics")
        return set(re.findall(rf'^{gauge}{{partition="(\d+)",topic="{pipeline.events_topic}"}}', text, re.MULTILINE))

    def are_shared(gauge: str) -> bool:
        ours, theirs = (partitions(port, gauge) for port in ports)
        return bool(ours) and bool(theirs) and not ours & theirs and ours | theirs == everything

    gauges = ("ingest_consumer_lag_messages", "ingest_audit_missing_offsets")
    try:
        first.start()
        for gauge in gauges:
            wait_until(lambda gauge=gauge: partitions(ports[0], gauge) == everything, 30, gauge)  # type: ignore[misc]
        second.start()
        for gauge in gauges:
            wait_until(lambda gauge=gauge: are_shared(gauge), 30, f"{gauge} by both")  # type: ignore[misc]
        assert first.stop() == 0
        for gauge in gauges:
            wait_until(lambda gauge=gauge: partitions(ports[1], gauge) == everything, 30, gauge)  # type: ignore[misc]
        assert second.stop() == 0
    finally:
        first.close()
        second.close()


def test_lag_and_headroom_of_every_topic_are_current_while_clickhouse_is_away(pipeline: Pipeline) -> None:
    pipeline.make_topics()
    metrics = Metrics(CollectorRegistry())
    topics = [describe_topic(pipeline.admin, name) for name in (pipeline.events_topic, pipeline.impressions_topic)]
    group = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": pipeline.group})
    group.commit(offsets=[TopicPartition(t.name, 0, 0, t.topic_id) for t in topics], asynchronous=False)
    group.close()

    class OwnsTheFirstPartitions:
        def owned(self) -> dict[tuple[str, int], Owned]:
            return {(topic.name, 0): Owned(topic, next=0) for topic in topics}

    def nobody() -> Client:
        raise ConnectionRefusedError

    watch = Watch(lambda: admin(pipeline.bootstrap), nobody, pipeline.group, metrics, audit_seconds=1, full_seconds=1)
    for already, more in ((0, 3), (3, 4)):
        for topic in topics:
            pipeline.produce_raw([(b"k", b"v")] * more, topic.name, partition=0)
        with pytest.raises(ConnectionRefusedError):
            watch.look(cast("Ingestion", OwnsTheFirstPartitions()))
        for topic in topics:
            labels = {"topic": topic.name, "partition": "0"}
            lag = metrics.registry.get_sample_value("ingest_consumer_lag_messages", labels)
            assert lag == already + more, topic.name
            headroom = metrics.registry.get_sample_value("ingest_retention_headroom_seconds", {"topic": topic.name})
            assert headroom == 24 * 3600

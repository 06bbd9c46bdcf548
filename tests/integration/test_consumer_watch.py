"""What watches beside the ingestion: whose partitions it shows, and that it needs no ClickHouse to see a gap."""

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
from services.consumer.start import GapError
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

    gauge = "ingest_audit_missing_offsets"
    try:
        first.start()
        wait_until(lambda: partitions(ports[0], gauge) == everything, 30, "all by the first")
        second.start()
        wait_until(lambda: are_shared(gauge), 30, "some by each")
        assert first.stop() == 0
        wait_until(lambda: partitions(ports[1], gauge) == everything, 30, "all by the second")
        assert second.stop() == 0
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize("overtaken", [0, 1])
def test_retention_that_overtakes_any_topic_is_noticed_while_clickhouse_is_away(
    pipeline: Pipeline, overtaken: int
) -> None:
    pipeline.make_topics()
    topics = [describe_topic(pipeline.admin, name) for name in (pipeline.events_topic, pipeline.impressions_topic)]
    group = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": pipeline.group})
    group.commit(offsets=[TopicPartition(t.name, 0, 2, t.topic_id) for t in topics], asynchronous=False)
    group.close()
    for topic in topics:
        pipeline.produce_raw([(b"k", b"v")] * 5, topic.name, partition=0)

    class OwnsTheFirstPartitions:
        def owned(self) -> dict[tuple[str, int], Owned]:
            return {(topic.name, 0): Owned(topic, next=2) for topic in topics}

    def nobody() -> Client:
        raise ConnectionRefusedError

    def delete_before(offset: int) -> None:
        (deleted,) = pipeline.admin.delete_records([TopicPartition(topics[overtaken].name, 0, offset)]).values()
        deleted.result(10)

    metrics = Metrics(CollectorRegistry())
    watch = Watch(lambda: admin(pipeline.bootstrap), nobody, pipeline.group, metrics, audit_seconds=1, full_seconds=1)
    ingestion = cast("Ingestion", OwnsTheFirstPartitions())
    delete_before(2)  # all of which is stored
    with pytest.raises(ConnectionRefusedError):
        watch.look(ingestion)
    delete_before(4)
    with pytest.raises(GapError, match=f"{topics[overtaken].name}/0: .*offsets 2 to 3 are gone"):
        watch.look(ingestion)

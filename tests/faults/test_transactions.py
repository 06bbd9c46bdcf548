"""Holes in the log that are no losses: transactions leave markers, and the offsets of what was aborted."""

import uuid
from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from services.common import kafka as kafka_admin
from services.consumer.writer import LONGEST_LISTED_HOLE, NO_RECORD
from services.contracts import metrics
from services.contracts.events import Event
from services.contracts.tables import ABSENT_OFFSETS, EVENTS
from services.exporter import stream
from services.trainer.data.extract import ExtractError, wait_until_complete
from tests.faults.scrape import metric
from tests.faults.world import PARTITIONS, World
from tests.support.ports import free_port
from tests.support.processes import wait_until

MISSING = metrics.INGEST_AUDIT_MISSING.name


class Transactions:
    """Another producer, which uses transactions."""

    def __init__(self, world: World) -> None:
        self.world = world
        config = kafka_admin.client_config(world.kafka.bootstrap, "transactions")
        self.producer = Producer({**config, "transactional.id": uuid.uuid4().hex})
        self.producer.init_transactions(30)

    def begin(self, count: int, partitions: range = range(PARTITIONS)) -> list[Event]:
        """Send `count` events to each of the partitions, and leave the transaction open."""
        self.producer.begin_transaction()
        events = [self.world.random_event() for _ in range(count * len(partitions))]
        for n, event in enumerate(events):
            value, partition = event.model_dump_json().encode(), partitions[n % len(partitions)]
            self.producer.produce(self.world.topic, value, key=str(event.user_id).encode(), partition=partition)
            self.producer.poll(0)
        assert self.producer.flush(30) == 0
        return events

    def commit(self, count: int, partitions: range = range(PARTITIONS)) -> None:
        """Send events that count."""
        events = self.begin(count, partitions)
        self.producer.commit_transaction(30)
        for event in events:
            self.world.oracle.saw(event)

    def abort(self, count: int, partitions: range = range(PARTITIONS)) -> None:
        """Send events that do not."""
        self.begin(count, partitions)
        self.producer.abort_transaction(30)


def assert_agreed(world: World) -> None:
    """Views, audit, its command, the exporter and the trainer find that nothing is missing and nothing waits."""
    world.wait_drained()
    world.assert_equal()
    assert world.consumer("audit", name="audit").wait_ended(60) == 0
    admin = kafka_admin.admin(world.kafka.bootstrap)
    seen = stream.collect(admin, world.kafka.bootstrap, world.group, world.topic)
    assert seen[metrics.INGEST_CONSUMER_LAG] == {(world.topic, str(p)): 0.0 for p in range(PARTITIONS)}
    assert bool(seen[metrics.INGEST_LAST_COMMITTED]) == bool(world.oracle.acknowledged)
    assert set(seen[metrics.INGEST_RETENTION_HEADROOM]) == {(world.topic,)}
    with world.client() as client:
        wait_until_complete(client, admin, 0, topic=world.topic)


@pytest.mark.parametrize("first", ["an aborted one", "a committed one", "a great aborted one"])
def test_21_transactions(world: World, report: Callable[..., None], first: str) -> None:
    """At the head, in the middle and at the end of every partition, while the consumer runs and before; one is open."""
    world.stop_merges()
    foreign, port = Transactions(world), free_port()
    if first == "a committed one":
        foreign.commit(25)
    else:
        foreign.abort(25 if first == "an aborted one" else LONGEST_LISTED_HOLE + 500)
    consumer = world.consumer(consumer_metrics_port=port)
    assert_agreed(world)  # nothing but a transaction, the last thing on each partition
    for _ in range(5):
        world.produce(40)
        foreign.commit(5)
        foreign.abort(3)
        foreign.abort(2, range(2))
    for _ in range(20):  # as stream processors send them
        foreign.commit(1)
    world.produce(40)
    assert_agreed(world)
    foreign.commit(10, range(2))
    foreign.abort(10, range(2, PARTITIONS))
    assert_agreed(world)
    foreign.begin(7)
    assert_agreed(world)  # what is in an open transaction is nothing yet
    foreign.producer.abort_transaction(30)
    assert_agreed(world)
    assert world.redelivered() == 0, "to find the holes it has read again and again"

    assert consumer.stop() == 0
    foreign.abort(4)
    foreign.commit(1)
    absent = world.count(ABSENT_OFFSETS)
    consumer = world.consumer(consumer_metrics_port=port)
    assert_agreed(world)
    assert world.count(ABSENT_OFFSETS) > absent
    with world.client() as client:
        assert client.query(f"SELECT DISTINCT reason FROM {ABSENT_OFFSETS}").result_rows == [(NO_RECORD,)]

    world.clickhouse.execute(f"SYSTEM START MERGES {world.database}.{EVENTS}")
    partition, offset = delete_one(world)
    wait_until(lambda: metric(port, MISSING) == 1, 60, "a real loss is noticed among the holes", 0.2)
    assert world.missing() == 1
    assert world.consumer("audit", name="audit-2").wait_ended(60) == 1
    with world.client() as client, pytest.raises(ExtractError, match=f"partition {partition}: 1 "):
        wait_until_complete(client, kafka_admin.admin(world.kafka.bootstrap), 1, topic=world.topic)

    assert consumer.stop() == 0
    world.rewind()
    world.consumer(consumer_block_rows=37, consumer_held_rows=148)
    assert_agreed(world)
    report(events=world.oracle.acknowledged, deleted=1, holes=world.count(ABSENT_OFFSETS), offset=offset)


def delete_one(world: World) -> tuple[int, int]:
    """Delete the row of one record, as somebody's mistake would; return its partition and offset."""
    with world.client() as client:
        rows = client.query(f"SELECT partition, offset FROM {EVENTS} ORDER BY partition, offset").result_rows
    partition, offset = world.rng.choice(list(rows))
    world.clickhouse.execute(
        f"ALTER TABLE {world.database}.{EVENTS} DELETE WHERE partition = {partition} AND offset = {offset} "
        "SETTINGS mutations_sync = 1"
    )
    return int(partition), int(offset)

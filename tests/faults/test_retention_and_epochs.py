"""Records that are gone from Kafka before they were stored, and a topic that is recreated under the same name."""

from collections.abc import Callable

import pytest

from services.common import kafka as kafka_admin
from services.consumer.__main__ import EXIT_GAP
from services.contracts.events import Event
from services.contracts.tables import ABSENT_OFFSETS, EVENTS
from tests.faults.oracle import key_of
from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.world import World
from tests.support.processes import wait_until


def produce_for_one_viewer(world: World, count: int) -> list[Event]:
    """In one partition, so that the order of producing is that of the offsets."""
    return world.produce(count, lambda: world.random_event(viewers=1))


def partition_in_use(world: World) -> int:
    """The partition of `produce_for_one_viewer`."""
    (partition,) = (p for p, offset in world.committed().items() if offset > 0)
    return partition


def accept_gap(world: World, lost: list[Event]) -> None:
    """What an operator does; only then may the oracle forget them."""
    assert world.consumer("bootstrap", "--accept-gap", name="accept-gap").wait_ended(30) == 0
    for event in lost:
        del world.oracle.events[key_of(event)]
    with world.client() as client:
        assert client.command(f"SELECT count() FROM {ABSENT_OFFSETS} WHERE reason = 'lost'") == len(lost)


@pytest.mark.parametrize("when", ["down", "running"])
def test_14_retention_overtakes_the_consumer(world: World, report: Callable[..., None], when: str) -> None:
    """It stops and names the gap, as often as it is started, and stores nothing from behind the gap meanwhile.

    ``down``: the records are deleted while no consumer runs. ``running``: while it cannot store anything.
    """
    proxy = ClickHouseProxy(world.clickhouse.port)
    with proxy.running():
        consumer = world.consumer(url=world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/"))
        produce_for_one_viewer(world, 300)
        world.wait_drained()
        partition, before = partition_in_use(world), world.committed()
        if when == "down":
            assert consumer.stop() == 0
        else:
            proxy.decide = lambda _token: Act.ANSWER_503
        events = produce_for_one_viewer(world, 400)
        if when == "running":
            wait_until(lambda: "trying again" in consumer.log_file.read_text(), 30, "it cannot store")
        gone = world.rng.randint(1, 399)
        world.delete_records(partition, 300 + gone)
        if when == "down":
            consumer.start()
        for start in range(2):
            assert consumer.wait_ended(40) == EXIT_GAP
            last_words = consumer.log_tail(3)
            assert "retention has overtaken the consumer" in last_words
            assert f"offsets 300 to {299 + gone} are gone" in last_words
            assert world.committed() == before, "it has jumped over the gap"
            proxy.decide = lambda _token: Act.PASS
            if start == 0:
                consumer.start()
    accept_gap(world, events[:gone])
    world.consumer()
    produce_for_one_viewer(world, 100)
    world.wait_drained()
    report(events=world.oracle.acknowledged, starts_refused=2, lost_and_accepted=gone)
    world.assert_equal()


@pytest.mark.parametrize("deleted", [0, pytest.param(200, marks=pytest.mark.slow), 301])
def test_14_the_groups_offsets_are_lost(world: World, report: Callable[..., None], deleted: int) -> None:
    """Without them it reads again what is left, which changes nothing – unless records that nobody stored are gone."""
    world.stop_merges()
    consumer = world.consumer()
    produce_for_one_viewer(world, 300)
    world.wait_drained()
    partition = partition_in_use(world)
    assert consumer.stop() == 0
    delete_group(world)
    events = produce_for_one_viewer(world, 100)
    world.delete_records(partition, deleted)
    consumer.start()
    gap = max(0, deleted - 300)
    if gap:
        assert consumer.wait_ended(30) == EXIT_GAP
        assert world.committed().get(partition) is None
        accept_gap(world, events[:gap])
        consumer.start()
    world.wait_drained()
    report(events=world.oracle.acknowledged, redeliveries=world.redelivered(), lost_and_accepted=gap)
    world.assert_equal()


@pytest.mark.parametrize("when", ["running", pytest.param("down", marks=pytest.mark.slow)])
def test_15_topic_recreated(world: World, report: Callable[..., None], when: str) -> None:
    """The same offsets come again with other events; both incarnations are kept, and none is skipped.

    The new one is shorter once and longer once than what was committed of the one before.
    """
    consumer = world.consumer()
    sizes = [400, 150, 600]
    for incarnation, size in enumerate(sizes):
        if incarnation:
            if when == "down":
                assert consumer.stop() == 0
            world.recreate_topic()
        world.produce(size)
        if incarnation and when == "down":
            consumer.start()
        world.wait_drained()
        world.assert_equal()
    with world.client() as client:
        epochs = client.query(f"SELECT count() FROM {EVENTS} FINAL GROUP BY epoch ORDER BY min(inserted_at)")
    report(events=world.oracle.acknowledged, incarnations=len(sizes))
    assert [rows for (rows,) in epochs.result_rows] == sizes
    assert consumer.is_running
    assert consumer.stop() == 0


def delete_group(world: World) -> None:
    """Make the broker forget the group with all its offsets."""
    admin = kafka_admin.admin(world.kafka.bootstrap)
    admin.delete_consumer_groups([world.group])[world.group].result(20)

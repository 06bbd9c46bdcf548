"""Apache Kafka is frozen, or killed and started again, under load: everything acknowledged arrives, once."""

from collections.abc import Callable

import pytest

from services.contracts import metrics
from tests.faults.load import Load
from tests.faults.scrape import metric
from tests.faults.world import World
from tests.support.ports import free_port
from tests.support.processes import wait_until

RECOVERY_SECONDS = 60


@pytest.mark.parametrize("rounds", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_08_broker_frozen_and_killed(kafka_world: World, report: Callable[..., None], rounds: int) -> None:
    """Frozen past the group's session timeout, too: then the members are removed and have to join again."""
    world, port = kafka_world, free_port()
    consumer = world.consumer(consumer_metrics_port=port)
    slowest = 0.0

    def recovers() -> None:
        """What is produced from now on is stored soon; asked of ClickHouse, for it is not the one in trouble."""
        nonlocal slowest
        goal = world.oracle.acknowledged + 100
        what = "what is produced after the blow is stored"
        with world.client() as client:
            count = "SELECT uniqExact(epoch, partition, offset) FROM events"
            took = wait_until(lambda: int(str(client.command(count))) >= goal, RECOVERY_SECONDS, what, 0.1)
        slowest = max(slowest, took)

    with Load(world, 300):
        recovers()
        for _ in range(rounds):
            world.kafka.freeze()
            world.pause(11, 14)  # the session timeout is 10 s
            world.kafka.thaw()
            recovers()
            world.kafka.kill9()
            world.pause(0, 3)
            world.kafka.start()
            recovers()
    world.wait_drained()
    redelivered = int(metric(port, metrics.INGEST_RECORDS_CONSUMED.name)) - world.oracle.acknowledged
    report(
        events=world.oracle.acknowledged, freezes=rounds, kills=rounds, redeliveries=redelivered,
        slowest_recovery_seconds=round(slowest, 1),
    )  # fmt: skip
    assert consumer.is_running
    world.assert_equal()

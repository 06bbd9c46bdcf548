"""The consumer is killed and frozen: nothing is lost, nothing is doubled."""

from collections.abc import Callable

import pytest

from tests.faults.world import World


@pytest.mark.parametrize("kills", [5, pytest.param(25, marks=pytest.mark.slow)])
def test_01_killed_at_random_points(world: World, report: Callable[..., None], kills: int) -> None:
    redelivered = 0
    consumer = world.consumer()
    for _ in range(kills):
        world.produce(world.rng.randint(200, 600))
        world.pause(0.3, 1.6)
        consumer.kill9()
        world.watch_views()
        redelivered = max(redelivered, world.redelivered())
        consumer.start()
    world.produce(100)
    world.wait_drained()
    redelivered = max(redelivered, world.redelivered())
    report(events=world.oracle.acknowledged, kills=kills, redeliveries=redelivered)
    world.assert_equal()

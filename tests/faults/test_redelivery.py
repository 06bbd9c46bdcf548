"""Rows that are written again – by a retry, by another consumer, after any time – change nothing."""

import random
from collections.abc import Callable

import pytest

from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.world import World
from tests.support.processes import wait_until


def proxied(world: World, proxy: ClickHouseProxy) -> str:
    """The world's database behind the proxy."""
    return world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/")


@pytest.fixture
def proxy(world: World) -> ClickHouseProxy:
    return ClickHouseProxy(world.clickhouse.port)


def test_03_replies_are_lost(world: World, proxy: ClickHouseProxy, report: Callable[..., None]) -> None:
    """The retry carries the same bytes and the same token, so the engine itself drops it: not even a copy is stored."""
    world.stop_merges()
    lost, chances = 12, random.Random(world.rng.getrandbits(32))
    acts = [Act.LOSE_REPLY] * lost + [Act.LOSE_REQUEST] * 4 + [Act.PASS] * 14
    chances.shuffle(acts)
    proxy.decide = lambda _token: acts.pop() if acts else Act.PASS
    with proxy.running():
        world.consumer(url=proxied(world, proxy))
        while acts:
            world.produce(50)
            world.pause(0.05, 0.2)
        world.wait_drained()
        copies = world.redelivered()
        report(events=world.oracle.acknowledged, replies_lost=lost, inserts=len(proxy.inserts), copies=copies)
        bytes_of: dict[str, set[str]] = {}
        for insert in proxy.inserts:
            bytes_of.setdefault(insert.token, set()).add(insert.digest)
        assert all(len(digests) == 1 for digests in bytes_of.values()), "a token was used again for other bytes"
        assert len(proxy.inserts) == len(bytes_of) + lost + 4, "something else was repeated too"
        assert copies == 0
        world.assert_equal()


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_03_reply_lost_and_consumer_killed(
    world: World, proxy: ClickHouseProxy, report: Callable[..., None], kills: int
) -> None:
    """The next consumer knows nothing of the insert that landed, and cuts its blocks elsewhere."""
    world.stop_merges()
    with proxy.running():
        for kill in range(kills):
            acts = [Act.LOSE_REPLY]
            proxy.decide = lambda _token, acts=acts: acts.pop() if acts else Act.LOSE_REQUEST  # type: ignore[misc]
            consumer = world.consumer(url=proxied(world, proxy), consumer_block_rows=150 + 70 * kill)
            world.produce(world.rng.randint(300, 500))
            wait_until(lambda acts=acts: not acts, 30, "an insert has landed")  # type: ignore[misc]
            consumer.kill9()
        world.consumer(consumer_block_rows=20)
        world.wait_drained()
    copies = world.redelivered()
    report(events=world.oracle.acknowledged, kills=kills, redeliveries=copies)
    assert copies > 0, "nothing was written twice: the test has shown nothing"
    world.assert_equal()


def test_04_same_block_after_the_deduplication_window(world: World, report: Callable[..., None]) -> None:
    """Inside the window the engine drops a repeated block; past it the rows are stored again, and the views show one.

    Limits that make the same blocks again: all is sealed at 50 records, and no more than that is taken at a time.
    """
    world.stop_merges()
    world.produce(1000, lambda: world.random_event(viewers=1))  # one key: one partition
    assert world.lag() == 1000

    def again() -> int:
        consumer = world.consumer(consumer_block_rows=50, consumer_held_rows=50, consumer_block_seconds=60)
        world.wait_drained()
        assert consumer.stop() == 0
        world.watch_views()
        return world.redelivered()

    assert again() == 0
    world.rewind()
    assert again() == 0, "inside its window the engine should have dropped the repeated blocks"
    world.assert_equal()
    for table in ("events", "signals"):
        world.clickhouse.execute(
            f"ALTER TABLE {world.database}.{table} MODIFY SETTING non_replicated_deduplication_window = 5"
        )
    world.produce(500, lambda: world.random_event(viewers=1))  # ten blocks: the window rolls
    again()
    world.rewind()
    copies = again()
    report(events=world.oracle.acknowledged, redeliveries=copies)
    assert copies >= 1000, "the window has not rolled: the test has shown nothing"
    world.assert_equal()


def test_05_other_batch_bounds(world: World, report: Callable[..., None]) -> None:
    """Read again from the start with blocks of other sizes; the engine sees other tokens and stores every row again."""
    world.stop_merges()
    world.produce(2000)
    poison = [f"not an event {world.rng.random()}".encode() for _ in range(20)]
    world.send_bad(poison[:10])
    world.produce(500)
    world.send_bad(poison[10:])
    sizes = [200, 73, world.rng.randint(1_000, 3_000), world.rng.randint(20, 60)]
    copies = 0
    for size in sizes:
        consumer = world.consumer(consumer_block_rows=size, consumer_held_rows=4 * size)
        world.wait_drained()
        assert consumer.stop() == 0
        world.assert_equal()
        assert world.redelivered() >= copies
        copies = world.redelivered()
        world.rewind()
    report(events=world.oracle.acknowledged, redeliveries=copies, quarantined=len(poison))
    assert copies >= 2500, "nothing was written twice: the test has shown nothing"
    world.clickhouse.execute(f"SYSTEM START MERGES {world.database}.events")
    world.clickhouse.execute(f"OPTIMIZE TABLE {world.database}.events FINAL")
    assert world.redelivered() == 0, "copies of a row do not merge"

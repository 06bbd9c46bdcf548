"""ClickHouse is killed, away, overloaded, or refuses us: nothing is skipped, and only what is stored is committed."""

import random
import threading
from collections.abc import Callable

import psutil
import pytest

from services.contracts import metrics
from tests.faults.load import Load
from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.scrape import metric
from tests.faults.world import World
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until

RETRIES, REBALANCES = metrics.INGEST_INSERT_RETRIES.name, metrics.INGEST_REBALANCES.name
MEMORY_LIMIT = 300 * 2**20
AUTHENTICATION_FAILED = "516"


def behind(world: World, proxy: ClickHouseProxy) -> str:
    """The world's database behind the proxy."""
    return world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/")


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_02_killed_in_the_middle_of_inserts(clickhouse_world: World, report: Callable[..., None], kills: int) -> None:
    """The blow falls when ClickHouse has the whole insert and has not answered, a few milliseconds later or sooner."""
    world, proxy = clickhouse_world, ClickHouseProxy(clickhouse_world.clickhouse.port)
    delays = random.Random(world.rng.getrandbits(32))
    armed, lock = threading.Event(), threading.Lock()

    def kill() -> None:
        with lock:
            if not armed.is_set():
                return
            armed.clear()
            threading.Event().wait(delays.uniform(0, 0.008))
            world.clickhouse.kill9()

    proxy.on_forwarded = kill
    with proxy.running():
        consumer = world.consumer(url=behind(world, proxy))
        with Load(world, 400):
            for _ in range(kills):
                before = sum(world.committed().values())
                wait_until(lambda before=before: sum(world.committed().values()) > before, 60, "commits")  # type: ignore[misc]
                armed.set()
                wait_until(lambda: not world.clickhouse.process.is_running, 30, "ClickHouse is killed")
                world.pause(0, 1)
                world.clickhouse.restart()
        world.wait_drained()
        unanswered = sum(insert.forwarded and not insert.answered for insert in proxy.inserts)
    report(
        events=world.oracle.acknowledged, kills=kills, unanswered_inserts=unanswered, redeliveries=world.redelivered()
    )
    assert unanswered >= kills // 4, "the blows missed the inserts: the test has shown nothing"
    assert consumer.is_running
    world.assert_equal()


def rss(process: ServiceProcess) -> int:
    """Resident memory in bytes."""
    return int(psutil.Process(process.pid).memory_info().rss)


@pytest.mark.parametrize(
    ("blow", "seconds"),
    [
        ("killed", 10),
        pytest.param("frozen", 8, marks=pytest.mark.slow),
        pytest.param("killed", 180, marks=pytest.mark.slow),
    ],
)
def test_09_away(clickhouse_world: World, report: Callable[..., None], blow: str, seconds: float) -> None:
    """Away for minutes under 2,000 events/s, with the settings of production: memory flat, no rebalance, then drained.

    A frozen server is worse than a dead one: connections open, inserts hang until they time out.
    """
    world, port, per_second = clickhouse_world, free_port(), 2_000
    consumer = world.consumer(
        consumer_metrics_port=port, consumer_block_rows=10_000, consumer_block_seconds=0.3,
        consumer_insert_timeout_seconds=3 if blow == "frozen" else 60,
    )  # fmt: skip
    with Load(world, per_second):
        wait_until(lambda: sum(world.committed().values()) > per_second, 60, "commits under load")
        rebalances = metric(port, REBALANCES)
        world.clickhouse.freeze() if blow == "frozen" else world.clickhouse.kill9()
        samples: list[int] = []
        away = threading.Event()
        while len(samples) < 4 * seconds:
            away.wait(0.25)
            samples.append(rss(consumer))
        retries = metric(port, RETRIES)
        held = world.committed()
        backlog = world.lag()
        world.clickhouse.thaw() if blow == "frozen" else world.clickhouse.restart()
    drained = world.wait_drained(60 + seconds)
    half = len(samples) // 2
    first, second = max(samples[:half]), max(samples[half:])
    report(
        events=world.oracle.acknowledged, away_seconds=seconds, backlog=backlog, retries=int(retries),
        rss_mb=round(max(samples) / 2**20), growth_mb=round((second - first) / 2**20, 1),
        drain_seconds=round(drained, 1), rebalances=metric(port, REBALANCES) - rebalances,
    )  # fmt: skip
    assert retries > 0
    assert backlog > per_second * seconds / 2, "committed what could not be stored"
    assert max(samples) < MEMORY_LIMIT
    assert second - first < 16 * 2**20, "memory grows"
    assert metric(port, REBALANCES) == rebalances
    assert all(offset <= world.committed()[p] for p, offset in held.items())
    world.assert_equal()


FEW_PARTS = "parts_to_delay_insert = 1, parts_to_throw_insert = 1"
ANY_PARTS = "parts_to_delay_insert, parts_to_throw_insert"
TROUBLE = {
    "events": (f"events MODIFY SETTING {FEW_PARTS}", f"events RESET SETTING {ANY_PARTS}", "252"),
    "signals": (f"signals MODIFY SETTING {FEW_PARTS}", f"signals RESET SETTING {ANY_PARTS}", "252"),
    # The rows land and their signals do not, as when a crash comes between the two.
    "torn": ("signals ADD CONSTRAINT full CHECK throwIf(user_id > 0) = 0", "signals DROP CONSTRAINT full", "395"),
}
"""What makes the engine refuse inserts, how to undo it, and the error's number (252: TOO_MANY_PARTS)."""


@pytest.mark.parametrize("trouble", ["events", pytest.param("signals", marks=pytest.mark.slow), "torn", "answers 503"])
def test_10_overloaded(world: World, report: Callable[..., None], trouble: str) -> None:
    """Too many parts in the table or in its view's target, half an insert, or a 503 from whatever stands before."""
    proxy, port = ClickHouseProxy(world.clickhouse.port), free_port()
    begin, end, code = TROUBLE.get(trouble, ("", "", ""))
    world.stop_merges()

    def overload() -> None:
        if begin:
            world.clickhouse.execute(f"ALTER TABLE {world.database}.{begin}")
        else:
            proxy.decide = lambda _token: Act.ANSWER_503

    def relieve() -> None:
        if end:
            world.clickhouse.execute(f"ALTER TABLE {world.database}.{end}")
        else:
            proxy.decide = lambda _token: Act.PASS

    with proxy.running():
        world.consumer(url=behind(world, proxy), consumer_metrics_port=port)
        world.produce(500)
        world.wait_drained()
        world.assert_equal()  # what is committed is stored: that is all the trouble may begin with
        overload()
        before = world.committed()
        world.produce(700)
        world.send_bad([b"not an event either"])
        wait_until(lambda: metric(port, RETRIES) >= 5, 30, "five retries")
        if code:
            assert metric(port, RETRIES, code=code) >= 5
        assert world.committed() == before, "committed what could not be stored"
        if trouble == "torn":
            rows = int(world.clickhouse.execute(f"SELECT count() FROM {world.database}.events FORMAT TSV"))
            assert rows > 500, "no row has landed without its signal: the test has shown nothing"
        retries = metric(port, RETRIES)
        relieve()
        recovery = world.wait_drained()
    report(
        events=world.oracle.acknowledged, retries=int(retries), redeliveries=world.redelivered(), quarantined=1,
        recovery_seconds=round(recovery, 1),
    )  # fmt: skip
    world.assert_equal()


@pytest.mark.parametrize(
    "status", ["password rotated", *(pytest.param(status, marks=pytest.mark.slow) for status in (401, 403))]
)
def test_11_refused(clickhouse_world: World, report: Callable[..., None], status: str | int) -> None:
    """Credentials are refused by ClickHouse, or by whatever stands before it: nothing skipped, an alarm, and patience.

    One that is stopped meanwhile ends in order and commits nothing; one that starts meanwhile waits as well.
    """
    world, port = clickhouse_world, free_port()
    proxy = ClickHouseProxy(world.clickhouse.port)

    def refuse() -> None:
        if isinstance(status, int):
            proxy.decide = lambda _token: Act(status)
        else:
            world.clickhouse.process.env["CLICKHOUSE_PASSWORD"] = "rotated"
            world.clickhouse.restart()

    def allow() -> None:
        proxy.decide = lambda _token: Act.PASS
        if not isinstance(status, int):
            world.clickhouse.process.env["CLICKHOUSE_PASSWORD"] = world.clickhouse.password
            world.clickhouse.restart()

    with proxy.running():
        consumer = world.consumer(url=behind(world, proxy), consumer_metrics_port=port, consumer_stop_seconds=1)
        world.produce(300)
        world.wait_drained()
        world.assert_equal()
        before = world.committed()
        refuse()
        world.produce(400)
        world.send_bad([b"nor is this"])
        wait_until(lambda: refusals(port, status) >= 2, 40, "it was refused twice")
        assert "access refused" in consumer.log_file.read_text()
        assert world.committed() == before, "committed what could not be stored"
        assert consumer.is_running
        assert consumer.stop() == 0
        second = world.consumer(url=behind(world, proxy), consumer_metrics_port=port)
        world.produce(100)
        wait_until(lambda: is_waiting(second), 40, "the second consumer has met the refusal")
        assert world.committed() == before
        allow()
        recovery = world.wait_drained()
    report(events=world.oracle.acknowledged, quarantined=1, recovery_seconds=round(recovery, 1))
    world.assert_equal()


def refusals(port: int, status: str | int) -> float:
    """What the metric of the alarm counts."""
    return metric(port, RETRIES) if isinstance(status, int) else metric(port, RETRIES, code=AUTHENTICATION_FAILED)


def is_waiting(consumer: ServiceProcess) -> bool:
    """Whether its log tells of refused access, while it runs or before it could begin."""
    text = consumer.log_file.read_text()
    return consumer.is_running and ("access refused" in text or "waiting for ClickHouse" in text)

"""Consumers are frozen, join and leave: each record counts once, and commits only go forward."""

import random
import signal
import threading
from collections.abc import Callable

import pytest

from tests.faults.load import Load
from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.world import PARTITIONS, World
from tests.support.processes import ServiceProcess, wait_until

SESSION_TIMEOUT = 4
"""Seconds of silence after which a member is removed from the group."""


class CommitsOnlyGoForward:
    """Looks at the committed offsets again and again; remembers every step back."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen: dict[int, int] = {}
        self.steps_back: list[str] = []

    def look(self) -> bool:
        """Look once; True, so that it can be one of the conditions of `wait_until`."""
        for partition, offset in self._world.committed().items():
            if offset < self._seen.get(partition, 0):
                self.steps_back.append(f"{partition}: {self._seen[partition]} → {offset}")
            self._seen[partition] = offset
        return True


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_06_frozen_past_the_session_timeout(world: World, report: Callable[..., None], rounds: int) -> None:
    """Frozen between an insert and its commit; others take over; thawed, it must not commit what is not its own.

    A commit that came through would set the group back behind what the new owner has done.
    """
    world.stop_merges()
    world.notice_kills_within(SESSION_TIMEOUT)
    proxy = ClickHouseProxy(world.clickhouse.port)
    commits = CommitsOnlyGoForward(world)
    armed = threading.Event()
    frozen: list[ServiceProcess] = []

    def freeze() -> None:
        if armed.is_set():
            armed.clear()
            frozen[-1].freeze()

    proxy.on_forwarded = freeze
    with proxy.running():
        for number in range(rounds):
            victim = world.consumer(
                url=world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/"), name=f"victim-{number}"
            )
            frozen.append(victim)
            world.produce(400)
            world.wait_drained()
            armed.set()
            world.produce(world.rng.randint(300, 600))
            wait_until(lambda: not armed.is_set(), 30, "the victim is frozen in the middle of an insert")
            before = world.committed()
            successor = world.consumer(name=f"successor-{number}")
            world.produce(600)
            world.wait_drained(SESSION_TIMEOUT + 40)
            assert world.committed() != before, "nobody has taken over: the test has shown nothing"
            commits.look()
            victim.thaw()
            world.produce(300)
            wait_until(
                lambda v=victim: commits.look() and "lost" in v.log_file.read_text(),  # type: ignore[misc]
                30,
                "the victim notices that it was removed",
                0.02,
                log_of=victim,
            )
            wait_until(lambda: commits.look() and world.lag() == 0, 30, "everything is committed", 0.02)
            assert victim.is_running
            assert successor.stop() == 0
            world.produce(200)
            world.wait_drained()
            commits.look()
            assert victim.stop() == 0, "a thawed consumer works like any other"
    report(events=world.oracle.acknowledged, freezes=rounds, redeliveries=world.redelivered())
    assert commits.steps_back == [], "a frozen consumer has committed what was not its own any more"
    assert world.redelivered() > 0, "nobody repeated the insert without a commit: the test has shown nothing"
    world.assert_equal()


def test_06_put_out_and_taken_in_again(world: World, report: Callable[..., None]) -> None:
    """While it still tries to store a block of its former time; others have gone further, and left.

    The broker would accept its commit now, which would set the group back: only the consumer can know better.
    """
    world.notice_kills_within(SESSION_TIMEOUT)
    proxy, commits = ClickHouseProxy(world.clickhouse.port), CommitsOnlyGoForward(world)
    armed, away = threading.Event(), threading.Event()

    def decide(_token: str) -> Act:
        if armed.is_set():
            away.set()
            return Act.LOSE_REPLY
        return Act.ANSWER_503 if away.is_set() else Act.PASS

    def freeze() -> None:
        if armed.is_set():
            armed.clear()
            victim.freeze()

    proxy.decide, proxy.on_forwarded = decide, freeze
    with proxy.running():
        victim = world.consumer(url=world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/"), name="victim")
        world.produce(400)
        world.wait_drained()
        armed.set()
        world.produce(400)
        wait_until(lambda: away.is_set() and not armed.is_set(), 30, "the victim is frozen in the middle of an insert")
        successor = world.consumer(name="successor")
        world.produce(600)
        world.wait_drained()
        assert successor.stop() == 0
        commits.look()
        before = assignments(victim)
        victim.thaw()
        wait_until(lambda: assignments(victim) > before, 30, "the victim is back", 0.1, log_of=victim)
        away.clear()
        world.produce(100)
        wait_until(lambda: commits.look() and world.lag() == 0, 30, "everything is committed", 0.02)
    report(events=world.oracle.acknowledged, freezes=1)
    assert commits.steps_back == [], "it has committed for the new owner, who is itself"
    world.assert_equal()


def assignments(consumer: ServiceProcess) -> int:
    """How often it was given partitions."""
    return consumer.log_file.read_text().count('"assigned"')


@pytest.mark.parametrize("at_once", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_07_ten_consumers_join_and_leave(world: World, report: Callable[..., None], at_once: int) -> None:
    """Under load ten come and go, some in order and some killed; there are more members than partitions, at times."""
    world.stop_merges()
    world.notice_kills_within(SESSION_TIMEOUT)
    chances = random.Random(world.rng.getrandbits(32))
    commits = CommitsOnlyGoForward(world)
    members: list[ServiceProcess] = []
    killed = left = 0

    def one_leaves() -> None:
        nonlocal killed, left
        leaver = members.pop(chances.randrange(len(members)))
        if chances.random() < 0.4:
            leaver.kill9()
            killed += 1
        else:
            assert leaver.stop() in (0, -signal.SIGTERM)  # the signal itself ends one that is still being imported
            left += 1
        commits.look()

    with Load(world, 300):
        for number in range(10):
            members.append(world.consumer(name=f"member-{number}"))
            if number < PARTITIONS / 2:
                wait_until(
                    lambda: commits.look() and assignments(members[-1]) > 0, 60, f"{members[-1].name} has partitions"
                )
            else:  # it may have to leave again before it has joined
                world.pause(0, 2)
            if len(members) == at_once:
                one_leaves()
        while len(members) > 1:
            world.pause(0, 1)
            one_leaves()
    wait_until(lambda: commits.look() and world.lag() == 0, 90, "drained", 0.2, log_of=members[-1])
    report(
        events=world.oracle.acknowledged, joined=len(world.consumers), left=left, kills=killed,
        redeliveries=world.redelivered(),
    )  # fmt: skip
    assert commits.steps_back == []
    assert all(member.is_running for member in members)
    world.assert_equal()

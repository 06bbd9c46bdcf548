"""Records that are no events: only they leave the stream, and too many of them stop the consumer."""

import json
import random
from collections.abc import Callable

import pytest

from services.consumer.__main__ import EXIT_BREAKER
from services.contracts import metrics
from services.contracts.events import Event
from tests.faults.changed_consumer import Change
from tests.faults.oracle import differences, stored_events, stored_quarantine
from tests.faults.scrape import metric
from tests.faults.world import PARTITIONS, World
from tests.support import raw_headers
from tests.support.ports import free_port
from tests.support.processes import wait_until

RETRIES, QUARANTINED = metrics.INGEST_INSERT_RETRIES.name, metrics.INGEST_QUARANTINED.name


def poison(world: World) -> bytes:
    """A value that is wrong in one of many ways, each time another."""
    rng, number = world.rng, world.rng.getrandbits(31)
    event = world.random_event().model_dump(mode="json")
    wrong: list[dict[str, object]] = [
        {"schema_version": 2},
        {"surprise": number},
        {"item_id": -number},
        {"user_id": str(number) + "x"},
        {"action": "adore"},
        {"value": 5.5, "action": "rate"},
        {"event_time": "9999-12-31T23:59:59Z"},
        {"event_time": None},
    ]
    values = [
        f"no JSON {number}".encode(),
        b"\xff\x00\xfe" + number.to_bytes(4, "big"),
        json.dumps([number]).encode(),
        json.dumps(event).encode()[: -1 - rng.randrange(40)],
        *(json.dumps(event | change).encode() for change in wrong),
    ]
    return rng.choice(values)


def quarantined(world: World) -> int:
    """How many records the quarantine shows."""
    with world.client() as client:
        return len(stored_quarantine(client))


def test_12_one_percent_poison(world: World, report: Callable[..., None]) -> None:
    """…anywhere in any partition, with a kill in between: the good rows around each bad one are all there, once."""
    world.stop_merges()
    world.notice_kills_within(3)
    sent_bad = 0
    consumer = world.consumer()
    for kill in (True, False):
        before = sum(world.committed().values())
        for _ in range(1_500):
            if world.rng.random() < 0.01:
                world.send_soon_bad(poison(world), key=str(world.rng.randint(1, 50)))
                sent_bad += 1
            world.send_soon(world.random_event())
        wait_until(lambda before=before: sum(world.committed().values()) > before, 30, "commits")  # type: ignore[misc]
        if kill:
            consumer.kill9()
            consumer.start()
    world.flush()
    world.send_bad([b""], key="7")  # no value at all
    world.wait_drained()
    redelivered = world.redelivered()
    report(events=world.oracle.acknowledged, kills=1, quarantined=sent_bad + 1, redeliveries=redelivered)
    assert sent_bad > 0
    assert quarantined(world) == sent_bad + 1
    world.assert_equal()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"\xff\xfename", b"value")],
        [(b"traceparent", None), (b"x-request-id", None)],
        [(b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), (b"x-request-id", b"\xff" * 900_000)],
        [(b"\xc3", None)] * 200,
    ],
    ids=["a name that is not UTF-8", "null", "huge", "many"],
)
def test_12_any_headers(world: World, headers: list[tuple[bytes, bytes | None]]) -> None:
    """What a foreign producer puts into headers ends nothing: the record is stored as any other, and so is the next.

    Once as the first record, and once after many: CPython checks less in calls that it has often made.
    """

    def send_with_headers() -> None:
        event = world.random_event()
        raw_headers.produce(
            world.kafka.bootstrap, world.topic,
            key=str(event.user_id).encode(), value=event.model_dump_json().encode(), headers=headers,
        )  # fmt: skip
        world.oracle.saw(event)

    send_with_headers()
    consumer = world.consumer()
    for _ in range(2):
        world.produce(200)
        world.wait_drained()
        send_with_headers()
    world.produce(50)
    world.wait_drained()
    world.assert_equal()
    assert consumer.is_running
    assert consumer.stop() == 0


def test_12_nothing_but_poison(world: World, report: Callable[..., None]) -> None:
    """A producer gone wrong: the consumer stops, again and again, until somebody decides; what waits is not lost.

    `set-aside` then takes the stretch that tripped it, and not the next one.
    """
    consumer = world.consumer()
    world.produce(300)
    world.wait_drained()
    flood = [poison(world) for _ in range(1_200)]
    for value in flood:
        world.send_soon_bad(value, key=str(world.rng.randint(1, 50)))
    world.flush()
    assert consumer.wait_ended(30) == EXIT_BREAKER
    set_aside, lag = quarantined(world), world.lag()
    assert set_aside < len(flood) / 2, "the breaker has let most of it through"
    assert lag > len(flood) / 2
    assert world.missing() == 0, "committed what was not stored"
    world.produce(300)
    consumer.start()
    assert consumer.wait_ended(30) == EXIT_BREAKER
    assert world.missing() == 0
    assert "stopped by the quarantine's breaker" in consumer.log_tail()

    world.produce(2_000)
    second = [poison(world) for _ in range(1_200)]
    for value in second:
        world.send_soon_bad(value, key=str(world.rng.randint(1, 50)))
    world.flush()
    world.produce(100)
    before = quarantined(world)
    assert world.consumer("set-aside", "--dry-run", name="dry-run").wait_ended(60) == 0
    assert quarantined(world) == before
    command = world.consumer("set-aside", name="set-aside")
    assert command.wait_ended(60) == 0, command.log_tail()
    assert quarantined(world) == len(flood), "what nobody has looked at was set aside as well"
    assert world.missing() == 0
    trips = 2
    consumer.start()
    while wait_until(lambda: not consumer.is_running or world.lag() == 0, 60, "it ends") and not consumer.is_running:
        trips += 1  # once for each partition at most, when one after the other comes to its second stretch
        assert trips <= 2 + PARTITIONS
        assert consumer.wait_ended() == EXIT_BREAKER
        assert world.consumer("set-aside", name=f"set-aside-{trips}").wait_ended(60) == 0
        consumer.start()
    assert trips > 2, "the breaker counts behind the first stretch"
    report(
        events=world.oracle.acknowledged, breaker_trips=trips, set_aside_before_trip=set_aside,
        quarantined=len(flood) + len(second),
    )  # fmt: skip
    assert quarantined(world) == len(flood) + len(second)
    world.assert_equal()


def test_12_a_bad_deploy(world: World, report: Callable[..., None]) -> None:
    """A consumer that takes every event for bad is stopped; the right one has the rest, `replay` what was set aside."""
    world.produce(40)
    bad_deploy = world.consumer(Change.REFUSES_ALL, module="tests.faults.changed_consumer")
    world.wait_drained()
    assert quarantined(world) == 40, "too few to tell a bad deploy from bad records"
    world.produce(2_000)
    assert bad_deploy.wait_ended(30) == EXIT_BREAKER
    diverted = quarantined(world)
    assert diverted < 1_000
    assert world.missing() == 0

    world.consumer()
    world.wait_drained()
    assert world.consumer("replay", name="replay").wait_ended(30) == 0
    world.wait_drained()
    report(events=world.oracle.acknowledged, breaker_trips=1, diverted=diverted, replayed=diverted)
    with world.client() as client:
        problem = differences(world.oracle.expected_events(), stored_events(client))
        assert not problem, problem
        assert client.command("SELECT countIf(NOT replayed) FROM events_quarantine_v") == 0
    assert world.missing() == 0


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_13_quarantine_not_writable(world: World, report: Callable[..., None], killed: bool) -> None:
    """The bad rows go first: while they cannot be stored, no good row of their block is, and nothing is committed."""
    port = free_port()
    world.notice_kills_within(3)

    def viewer() -> Event:
        return world.random_event(viewers=1)

    first = world.consumer()
    world.produce(100, viewer)
    world.send_bad([b"the quarantine's first part"], key="1")
    world.wait_drained()
    assert first.stop() == 0
    before = world.committed()
    quarantine = f"{world.database}.events_quarantine"
    world.clickhouse.execute(f"SYSTEM STOP MERGES {quarantine}")
    world.clickhouse.execute(
        f"ALTER TABLE {quarantine} MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1"
    )
    chances = random.Random(world.rng.getrandbits(32))
    places = {chances.randrange(150) for _ in range(5)}
    for n in range(150):
        if n in places:
            world.send_bad([f"bad {n}".encode()], key="1")
        world.send_soon(viewer())
    world.flush()
    # One block of all of them.
    consumer = world.consumer(
        consumer_metrics_port=port, consumer_block_rows=150 + len(places), consumer_block_seconds=20
    )
    wait_until(lambda: scraped(port) >= 4, 40, "it tries again and again", log_of=consumer)
    assert world.committed() == before, "committed what could not be stored"
    with world.client() as client:
        assert len(stored_events(client)) == 100, "good rows went before the quarantine"
    if killed:
        consumer.kill9()
        consumer.start()
        wait_until(lambda: scraped(port) >= 4, 40, "it tries again, after its restart too")
        assert world.committed() == before
    retries = metric(port, RETRIES)
    world.clickhouse.execute(f"ALTER TABLE {quarantine} RESET SETTING parts_to_delay_insert, parts_to_throw_insert")
    world.wait_drained()
    report(
        events=world.oracle.acknowledged, retries=int(retries), kills=int(killed), quarantined=1 + len(places)
    )  # fmt: skip
    world.assert_equal()
    assert quarantined(world) == 1 + len(places)
    assert metric(port, QUARANTINED) == len(places)


def scraped(port: int) -> float:
    """Retries so far; 0 while it starts."""
    try:
        return metric(port, RETRIES)
    except OSError:
        return 0

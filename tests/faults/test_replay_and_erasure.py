"""What is read again after a new decoder, or after a viewer was erased."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from services.common.erasure import ERASED, erase, purge
from services.contracts import metrics
from services.contracts.events import Action, Event
from services.contracts.ids import UserId
from services.contracts.rest import ADMIN_KEY_HEADER
from services.contracts.tables import (
    ABSENT_OFFSETS,
    AUDIT_LEDGER,
    EVENTS,
    EVENTS_QUARANTINE,
    IMPRESSIONS,
    IMPRESSIONS_VIEW,
    SIGNALS,
)
from tests.faults.changed_consumer import NEW_SOURCE, Change
from tests.faults.oracle import key_of
from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.scrape import metric
from tests.faults.world import PARTITIONS, World
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, Replica, crown, prepare_catalogue
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until

BLOCK = 100
ADMIN = {ADMIN_KEY_HEADER: ADMIN_KEY}
VIEWERS = range(1, 21)
LISTS_EACH = 2
PERSONAL = (EVENTS, SIGNALS, EVENTS_QUARANTINE, IMPRESSIONS)
NOTHING = dict.fromkeys([*PERSONAL, "bytes"], 0)


@pytest.mark.parametrize("change", [Change.STRICTER, Change.WRONG_VALUES])
def test_17_the_decoder_changes_between_crash_and_redelivery(
    world: World, report: Callable[..., None], change: Change
) -> None:
    """The crash comes after the insert and before the commit; the next version makes other rows of the same offsets.

    First and last row are the same in both, so a token of the bounds alone would let the engine drop the new rows.
    Many of the old version's wrong values (one star) are greater than the right ones (half a star).
    """
    blocks = 1 if change is Change.WRONG_VALUES else world.rng.randint(1, 3)
    sources = ["api" if n % BLOCK in (0, BLOCK - 1) or n % 7 else NEW_SOURCE for n in range(4 * BLOCK)]
    sent = [
        world.random_event(viewers=1).model_copy(
            update={"source": source, **({"action": Action.RATE, "value": 0.5} if n % 5 == 0 else {})}
        )
        for n, source in enumerate(sources)
    ]
    world.send([Event.model_validate(event.model_dump()) for event in sent])

    def in_equal_blocks(url: str = "", *arguments: str, module: str = "services.consumer") -> ServiceProcess:
        """All is sealed at 100 records and no more is taken at a time: the next consumer makes the same blocks."""
        return world.consumer(
            *arguments, url=url, module=module,
            consumer_block_rows=BLOCK, consumer_held_rows=BLOCK, consumer_block_seconds=60,
        )  # fmt: skip

    world.notice_kills_within(3)
    proxy, inserts = ClickHouseProxy(world.clickhouse.port), blocks * (2 if change is Change.STRICTER else 1)
    acts = [Act.LOSE_REPLY, *[Act.PASS] * (inserts - 1)]
    proxy.decide = lambda _token: acts.pop() if acts else Act.LOSE_REQUEST
    with proxy.running():
        url = world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/")
        changed = in_equal_blocks(url, change, module="tests.faults.changed_consumer")
        wait_until(lambda: len(proxy.inserts) > inserts, 30, "a reply was lost", log_of=changed)
        changed.kill9()
    assert sum(world.committed().values()) == (blocks - 1) * BLOCK

    present = in_equal_blocks()
    world.wait_drained()
    assert present.stop() == 0
    first, last = sent[(blocks - 1) * BLOCK], sent[blocks * BLOCK - 1]
    redone = {key_of(e) for e in sent[(blocks - 1) * BLOCK :]}
    assert redone <= world.shown_events().keys(), "rows of the new decoder were taken for a repeat"
    assert first.source == last.source == "api"
    if change is Change.STRICTER:
        refused = [event.model_dump_json().encode() for event in sent[: blocks * BLOCK] if event.source == NEW_SOURCE]
        world.oracle.bad.update(refused)  # the old version did set them aside
        assert world.consumer("replay", name="replay").wait_ended(30) == 0
        world.consumer()
        world.wait_drained()
    report(events=world.oracle.acknowledged, kills=1, blocks_before_the_crash=blocks - 1)
    world.assert_equal()


@pytest.fixture
def replica(world: World, postgres_database: str, tmp_path: Path) -> Iterator[Replica]:
    """The API over the world's topics and database."""
    prepare_catalogue(postgres_database)
    crown(postgres_database, make_bundle(tmp_path / "models", topic_id=world.identity().topic_id).manifest)
    api = Replica(
        world.kafka.bootstrap, postgres_database, world.url, tmp_path / "models", world.topic, world.impressions_topic
    ).start()
    try:
        wait_until(api.ready, 30, "the API is ready")
        yield api
    finally:
        api.stop()


def rows_of(world: World, viewers: set[int]) -> dict[str, int]:
    """Rows on disk, not in views, per table; the quarantined ones also by what their bytes say."""
    wanted = ", ".join(map(str, viewers))
    with world.client() as client:
        counts = {
            table: int(client.command(f"SELECT count() FROM {table} WHERE user_id IN ({wanted})"))  # type: ignore[arg-type]
            for table in PERSONAL
        }
        key, value = f"key IN ('{', '.join(map(str, viewers))}')", "JSONExtractInt(value, 'user_id')"
        counts["bytes"] = int(
            client.command(f"SELECT count() FROM {EVENTS_QUARANTINE} WHERE {key} OR {value} IN ({wanted})")  # type: ignore[arg-type]
        )
    return counts


def test_18_erased_and_replayed(world: World, replica: Replica, report: Callable[..., None]) -> None:
    """Erased through the API while events are under way, and one while the consumer is down; then all is read again.

    Nothing of theirs is on disk afterwards, nobody else misses anything, and the audit still adds up.
    """
    victims, later_victim = set(world.rng.sample(VIEWERS, 3)), 21
    everyone = {*victims, later_victim}
    bad_of: dict[int, set[bytes]] = {}

    def post(count: int) -> None:
        events = [world.random_event(viewers=21) for _ in range(count)]
        for event in events:
            answer = replica.post(event.model_dump(mode="json", exclude={"schema_version"}))
            if answer.status_code == 202:
                world.oracle.saw(event)
            else:
                assert (answer.status_code, event.user_id in everyone) == (410, True)

    def spoil() -> None:
        for viewer in (*everyone, 999):
            named = f'{{"user_id": {viewer}, "mood": {world.rng.getrandbits(31)}}}'.encode()
            keyed = b"broken " + world.rng.randbytes(8)
            world.send_bad([named], key="nobody")
            world.send_bad([keyed], key=str(viewer))
            bad_of.setdefault(viewer, set()).update((named, keyed))

    def forget(viewers: set[int]) -> None:
        world.oracle.erased |= viewers
        world.oracle.bad -= set().union(*(bad_of[viewer] for viewer in viewers))

    consumer = world.consumer(consumer_erasure_refresh_seconds=1)
    post(300)
    for viewer in VIEWERS:
        for _ in range(LISTS_EACH):
            replica.recommendations(viewer)
    spoil()
    drained(world)
    assert all(count > 0 for count in rows_of(world, victims).values()), "nothing to erase: the test shows nothing"

    for _ in range(200):
        world.send_soon(world.random_event(viewers=21))  # another replica, which has not heard of it yet
    for viewer in victims:
        assert replica.client.delete(f"/v1/users/{viewer}", headers=ADMIN).status_code == 200
    post(100)
    world.produce(200, lambda: world.random_event(viewers=21))
    spoil()
    drained(world)
    forget(victims)
    wait_until(lambda: rows_of(world, victims) == NOTHING, 120, "what was under way is deleted too", 0.2)
    world.assert_equal()

    assert consumer.stop() == 0
    assert replica.client.delete(f"/v1/users/{later_victim}", headers=ADMIN).status_code == 200
    forget({later_victim})
    for topic in (world.topic, world.impressions_topic):
        world.rewind(topic_name=topic)
    port = free_port()
    world.consumer(consumer_block_rows=61, consumer_metrics_port=port)
    drained(world)
    report(events=world.oracle.acknowledged, erased=len(everyone), redeliveries=world.redelivered())
    assert metric(port, metrics.INGEST_ERASED.name) == erased_offsets(world), "stored first, and then purged"
    assert rows_of(world, everyone) == NOTHING, "a replay has brought somebody back"
    world.assert_equal()
    assert world.missing(world.impressions_topic) == 0
    with world.client() as client:
        rows = client.query(f"SELECT user_id, count() FROM {IMPRESSIONS_VIEW} GROUP BY user_id").result_rows
    assert {int(user): lists for user, lists in rows} == {
        viewer: LISTS_EACH for viewer in VIEWERS if viewer not in everyone
    }


def test_18_a_row_that_comes_in_the_middle_of_a_purge(world: World, report: Callable[..., None]) -> None:
    """…is not deleted before its offset is noted: the audit would count it as missing for ever."""
    world.produce(100, lambda: world.random_event(viewers=2))
    world.consumer(
        consumer_erasure_refresh_seconds=3_600, consumer_audit_seconds=3_600, consumer_audit_full_seconds=3_600
    )
    world.wait_drained()
    wait_until(lambda: world.count(AUDIT_LEDGER) >= 2 * PARTITIONS, 30, "its one audit is over, and its one purge")

    def before_the_deletion(statement: str) -> None:
        if statement.startswith(f"ALTER TABLE {EVENTS} DELETE"):
            world.produce(50, lambda: world.random_event(viewers=1))
            world.wait_drained()

    with world.client() as client:
        run = client.command

        def command(statement: str, **arguments: Any) -> Any:
            before_the_deletion(statement)
            return run(statement, **arguments)

        with patch.object(client, "command", command):
            erase(client, UserId(1))
    world.oracle.erased.add(1)
    assert world.missing() == 0
    assert rows_of(world, {1})[EVENTS] == 50, "nothing came in the middle: the test shows nothing"
    with world.client() as client:
        purge(client)
    report(events=world.oracle.acknowledged, erased=1)
    assert rows_of(world, {1}) == NOTHING
    world.assert_equal()


def erased_offsets(world: World) -> int:
    """How many offsets are noted as an erased viewer's."""
    with world.client() as client:
        sql = f"SELECT uniqExact(epoch, partition, offset) FROM {ABSENT_OFFSETS} WHERE reason = '{ERASED}'"
        return int(client.command(sql))  # type: ignore[arg-type]


def drained(world: World) -> None:
    """Both topics are stored and committed."""
    for topic in (world.topic, world.impressions_topic):
        wait_until(lambda topic=topic: world.lag(topic) == 0, 60, f"{topic} is committed", 0.2)  # type: ignore[misc]

"""Stopping in order repeats nothing; and if a row is ever missing, the audit says so."""

import re
import time
from collections.abc import Callable

import pytest

from services.consumer.settings import ConsumerSettings
from services.contracts import metrics
from services.contracts.tables import AUDIT_LEDGER, EVENTS, EVENTS_QUARANTINE
from tests.faults.load import Load
from tests.faults.proxy import Act, ClickHouseProxy
from tests.faults.scrape import metric
from tests.faults.world import World
from tests.support.ports import free_port
from tests.support.processes import wait_until

MISSING, RETRIES = metrics.INGEST_AUDIT_MISSING.name, metrics.INGEST_INSERT_RETRIES.name
STOP_SECONDS = 10
BUDGET_SECONDS = ConsumerSettings.model_fields["consumer_stop_seconds"].default
GAVE_UP = "stopped before everything was stored"
FIRES_WITHIN = 120


@pytest.mark.serial
@pytest.mark.parametrize("stops", [3, pytest.param(15, marks=pytest.mark.slow)])
def test_19_sigterm_under_load(world: World, report: Callable[..., None], stops: int) -> None:
    """Each consumer counts the records that it took in: together they are the records, none twice.

    One that gives up because its time is over says so, and alone may have what it held delivered again.
    """
    world.stop_merges()
    slowest, gave_up = 0.0, 0
    with Load(world, 1_500):
        for _ in range(stops):
            before = sum(world.committed().values())
            consumer = world.consumer(consumer_block_rows=world.rng.choice([100, 1_000, 10_000]))
            wait_until(lambda before=before: sum(world.committed().values()) > before, 30, "it is at work")  # type: ignore[misc]
            world.pause(0, 1)
            asked = time.monotonic()
            assert consumer.stop() == 0
            took = time.monotonic() - asked
            slowest = max(slowest, took)
            if GAVE_UP in consumer.log_file.read_text():
                assert took >= BUDGET_SECONDS, "it gave up before its time was over"
                gave_up += 1
    consumer = world.consumer()
    world.wait_drained()
    wait_until(lambda: '"assigned"' in consumer.log_file.read_text(), 10, "the last one has joined")
    assert consumer.stop() == 0
    logs = "".join(process.log_file.read_text() for process in world.consumers)
    taken = [int(count) for count in re.findall(r'"records_taken": (\d+)', logs)]
    report(
        events=world.oracle.acknowledged, stops=stops + 1, redeliveries=sum(taken) - world.oracle.acknowledged,
        slowest_seconds=round(slowest, 1), gave_up=gave_up,
    )  # fmt: skip
    assert slowest < STOP_SECONDS
    assert len(taken) == stops + 1
    if not gave_up:
        assert sum(taken) == world.oracle.acknowledged, "something was delivered again"
        assert world.redelivered() == 0
    world.assert_equal()


def test_19_sigterm_while_clickhouse_is_away(world: World, report: Callable[..., None]) -> None:
    """Then what is held cannot be stored: it ends in time all the same, commits nothing, and the next one has it."""
    proxy, port = ClickHouseProxy(world.clickhouse.port), free_port()
    with proxy.running():
        url = world.url.replace(f":{world.clickhouse.port}/", f":{proxy.port}/")
        consumer = world.consumer(url=url, consumer_metrics_port=port)
        world.produce(300)
        world.wait_drained()
        before = world.committed()
        proxy.decide = lambda _token: Act.LOSE_REQUEST
        world.produce(300)
        wait_until(lambda: metric(port, RETRIES) >= 2, 30, "it tries again")
        asked = time.monotonic()
        assert consumer.stop() == 0
        took = time.monotonic() - asked
        assert world.committed() == before
    world.consumer()
    world.wait_drained()
    report(events=world.oracle.acknowledged, stops=1, slowest_seconds=round(took, 1))
    assert took < STOP_SECONDS
    world.assert_equal()


@pytest.mark.parametrize("full_seconds", [3, pytest.param(60, marks=pytest.mark.slow, id="as in production")])
def test_20_a_deleted_row_is_missed(world: World, report: Callable[..., None], full_seconds: float) -> None:
    """One old row of the events and one of the quarantine: metric, ledger, log and `audit` name their partitions."""
    port = free_port()
    for n in range(12):
        world.produce(100)
        world.send_bad([f"bad {n}".encode()])
    consumer = world.consumer(
        consumer_metrics_port=port, consumer_audit_seconds=min(30, full_seconds),
        consumer_audit_full_seconds=full_seconds, consumer_block_seconds=1,
    )  # fmt: skip
    world.wait_drained()
    world.assert_equal()
    wait_until(lambda: ledger(world) == {0}, FIRES_WITHIN, "a full audit has found nothing missing")
    assert metric(port, MISSING) == 0

    victims = {table: pick(world, table) for table in (EVENTS, EVENTS_QUARANTINE)}
    for table, (partition, offset) in victims.items():
        world.clickhouse.execute(
            f"ALTER TABLE {world.database}.{table} DELETE WHERE partition = {partition} AND offset = {offset} "
            "SETTINGS mutations_sync = 1"
        )
    deleted = time.monotonic()
    wait_until(lambda: metric(port, MISSING) == 2, FIRES_WITHIN, "the metric counts two missing offsets", 0.2)
    fired = time.monotonic() - deleted
    for partition in {partition for partition, _ in victims.values()}:
        expected = sum(partition == p for p, _ in victims.values())
        assert metric(port, MISSING, topic=world.topic, partition=str(partition)) == expected
    assert "AUDIT:" in consumer.log_file.read_text()
    # An audit of new records alone may have been the one that found them.
    wait_until(lambda: max(ledger(world)) >= 1, FIRES_WITHIN, "a full audit has found them too")
    assert world.missing() == 2
    assert world.consumer("audit", name="audit").wait_ended() == 1, "the command's status tells it, too"

    assert consumer.stop() == 0
    # In other blocks than before: inside its window the engine drops the same ones, rows deleted or not.
    world.rewind()
    world.consumer(
        consumer_metrics_port=port, consumer_block_rows=37, consumer_held_rows=148, consumer_audit_full_seconds=1
    )
    world.wait_drained()
    wait_until(lambda: metric(port, MISSING) == 0 and world.missing() == 0, 60, "read again, nothing is missing", 0.2)
    report(events=world.oracle.acknowledged, deleted=2, fired_seconds=round(fired, 1), quarantined=12)
    world.assert_equal()


def ledger(world: World) -> set[int]:
    """What each partition's last full audit found missing; nothing before there was one."""
    with world.client() as client:
        rows = client.query(
            f"SELECT argMax(missing, audited_at) FROM {AUDIT_LEDGER} "
            f"WHERE topic = '{world.topic}' AND scope = 'full' AND committed > 0 GROUP BY partition"
        ).result_rows
    return {int(missing) for (missing,) in rows}


def pick(world: World, table: str) -> tuple[int, int]:
    """Partition and offset of some row."""
    with world.client() as client:
        rows = client.query(f"SELECT partition, offset FROM {table} ORDER BY partition, offset").result_rows
    partition, offset = world.rng.choice(list(rows))
    return int(partition), int(offset)

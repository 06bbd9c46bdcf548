"""Any order of delivery, with any redelivery in any blocks, makes the same state: a law, and so a property test."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import hypothesis
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.consumer.batch import Block, open_block
from services.consumer.decode import events_stream
from services.consumer.metrics import Metrics
from services.consumer.record import Record
from services.consumer.writer import Writer
from services.contracts.events import Action, Event
from services.contracts.signals import EPOCH
from services.contracts.tables import EVENTS, EVENTS_QUARANTINE, EVENTS_VIEW, SIGNALS
from tests.faults.oracle import Oracle, stored_events, stored_quarantine, stored_signals

TOPIC = "events"
T0 = datetime(2023, 1, 1, tzinfo=timezone.utc)
PARTITIONS = 2
NOT_EVENTS = [b"", b"not JSON", b'{"user_id": 1}', b"\xff\x00"]

Slice = tuple[int, int, int]
"""Partition, first offset, last offset: what one block brings."""


@dataclass(frozen=True)
class Case:
    """What the partitions hold, and in which blocks, in which order, it reaches ClickHouse."""

    partitions: list[list[bytes]]
    deliveries: list[Slice]
    merges: set[int]
    """After which deliveries ClickHouse merges everything."""


events = st.builds(
    lambda user, item, action, stars, time, event_id: Event(
        event_id=event_id, user_id=user, item_id=item, action=action,
        value=stars / 2 if action is Action.RATE else None,
        event_time=T0 + timedelta(microseconds=time), source="property",
    ),
    st.integers(1, 3), st.integers(1, 2), st.sampled_from(Action), st.integers(1, 10), st.integers(0, 4),
    st.uuids(version=4),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few viewers, films and times, so that they collide; events sent again as they are, stamped anew, or with an id
    that was used for another event.
    """
    log: list[Event | bytes] = list(draw(st.lists(events | st.sampled_from(NOT_EVENTS), min_size=4, max_size=20)))
    for again in draw(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), max_size=4)):
        event = log[again[0] % len(log)]
        if isinstance(event, Event):
            log.append(event.model_copy(update={"event_time": event.event_time + timedelta(microseconds=again[1])}))
    ids = [event.event_id for event in log if isinstance(event, Event)]
    for other in draw(st.lists(events, max_size=3)) if ids else []:
        log.append(other.model_copy(update={"event_id": ids[draw(st.integers(0, len(ids) - 1))]}))
    partitions: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for entry in log:
        if isinstance(entry, Event):
            partitions[entry.user_id % PARTITIONS].append(entry.model_dump_json().encode())
        else:
            partitions[draw(st.integers(0, PARTITIONS - 1))].append(entry)
    slices: list[Slice] = []
    for partition, values in enumerate(partitions):
        if values:
            cuts = sorted({0, len(values), *draw(st.lists(st.integers(0, len(values)), max_size=4))})
            slices += [(partition, first, until - 1) for first, until in pairwise(cuts)]
            bounds = st.tuples(st.integers(0, len(values) - 1), st.integers(0, len(values) - 1))
            slices += [(partition, min(pair), max(pair)) for pair in draw(st.lists(bounds, max_size=4))]
    order = draw(st.permutations(slices))
    return Case(partitions, order, draw(st.sets(st.integers(0, len(order) - 1), max_size=2)))


def oracle_of(case: Case) -> Oracle:
    """What every record of the partitions, read once and in order, amounts to."""
    oracle = Oracle()
    for values in case.partitions:
        for value in values:
            if value in NOT_EVENTS:
                oracle.saw_bad(value)
            else:
                oracle.saw(Event.model_validate_json(value))
    return oracle


def block_of(case: Case, epoch: int, bounds: Slice) -> Block:
    """The block as the consumer's intake makes it. Kafka's times lie weeks apart: rows of one block, many months."""
    partition, first, last = bounds
    records = [
        Record(TOPIC, partition, offset, 1_700_000_000_000 + offset * 20 * 86_400_000, b"", value)
        for offset, value in enumerate(case.partitions[partition][first : last + 1], start=first)
    ]
    block = open_block(events_stream(TOPIC), epoch, partition, first, 0.0)
    for record in records:
        block.add(record)
    return block


def signals_of_events_view(client: Client) -> dict[tuple[int, int, str], tuple[float, int]]:
    """What Python makes of the events that `events_v` shows."""
    replayed = Oracle()
    columns = "event_id, user_id, item_id, action, value, toUnixTimestamp64Micro(event_time)"
    for *said, time in client.query(f"SELECT {columns} FROM {EVENTS_VIEW} ORDER BY rand()").result_rows:
        event = dict(zip(("event_id", "user_id", "item_id", "action", "value"), said, strict=True))
        replayed.saw(Event.model_validate(event | {"event_time": EPOCH + timedelta(microseconds=time)}))
    return replayed.expected_signals()


@pytest.mark.parametrize("examples", [30, pytest.param(400, marks=pytest.mark.slow)])
def test_16_any_order_and_any_redelivery(
    clickhouse_database: str, seed: int, report: Callable[..., None], examples: int
) -> None:
    client = connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    writer = Writer(
        lambda: connect(SecretStr(clickhouse_database)), Metrics(CollectorRegistry()), refresh_seconds=3_600
    )
    counts = {"cases": 0, "events": 0, "blocks": 0, "redeliveries": 0}

    def deliver(block: Block) -> None:
        parts = writer.split(block)
        writer.set_aside(block, parts.rejected, parts.erased)
        writer.store(parts.good)

    @hypothesis.seed(seed)
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(cases())
    def same_state(case: Case) -> None:
        for table in (EVENTS, SIGNALS, EVENTS_QUARANTINE):
            client.command(f"TRUNCATE TABLE {table}")
        counts["cases"] += 1
        oracle, epoch = oracle_of(case), counts["cases"]
        for number, bounds in enumerate(case.deliveries):
            deliver(block_of(case, epoch, bounds))
            if number in case.merges:
                for table in (EVENTS, SIGNALS, EVENTS_QUARANTINE):
                    client.command(f"OPTIMIZE TABLE {table} FINAL")
        assert stored_events(client) == oracle.expected_events()
        assert stored_signals(client) == oracle.expected_signals() == signals_of_events_view(client)
        bad = sorted(value for values in case.partitions for value in values if value in NOT_EVENTS)
        assert sorted(stored_quarantine(client)) == bad
        delivered = sum(last - first + 1 for _, first, last in case.deliveries)
        counts["events"] += sum(map(len, case.partitions))
        counts["blocks"] += len(case.deliveries)
        counts["redeliveries"] += delivered - sum(map(len, case.partitions))

    same_state()
    report(**counts)
    assert counts["redeliveries"] > 0

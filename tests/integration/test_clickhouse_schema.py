"""The migrations on the real engine: signals as Python computes them, and views that tell the truth."""

import random
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from services.common import audit, clickhouse, erasure
from services.common.kafka import TopicIdentity
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.consumer.decode import EVENT_COLUMNS, Row
from services.consumer.writer import INSERT_SETTINGS
from services.contracts.events import Action
from services.contracts.ids import UserId
from services.contracts.signals import DECODER_VERSION, Signal, signal_of, signal_version, to_microseconds

TOPIC = TopicIdentity("events", "id", (0, 1))
START = datetime(2026, 11, 1, tzinfo=timezone.utc)


@pytest.fixture
def client(clickhouse_database: str) -> Client:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    return client


def row(
    offset: int,
    *,
    action: Action = Action.LIKE,
    value: float | None = None,
    user: int = 1,
    item: int = 1,
    event_id: int = 0,
    time: datetime = START,
    partition: int = 0,
    decoder: int = DECODER_VERSION,
) -> Row:
    return (
        TOPIC.epoch, partition, offset, 0, user, event_id or (1 << 100) + offset, item, action.value, value,
        to_microseconds(time), None, "test", 1, decoder,
    )  # fmt: skip


def insert(client: Client, rows: Sequence[Row], **extra: str) -> None:
    client.insert("events", list(rows), column_names=EVENT_COLUMNS, settings={**INSERT_SETTINGS, **extra})


def oracle(rows: Sequence[Row]) -> set[tuple[int, int, str, float, int]]:
    """The signals that Python says these rows make."""
    latest: dict[tuple[int, int, Signal], tuple[int, float]] = {}
    for r in rows:
        signal, value = signal_of(Action(r[7]), r[8])
        version = signal_version(r[9], uuid.UUID(int=r[5]), value, r[13])
        key = (r[4], r[6], signal)
        latest[key] = max(latest.get(key, (0, 0.0)), (version, value))
    return {(user, item, signal.value, value, version) for (user, item, signal), (version, value) in latest.items()}


def signals(client: Client, where: str = "1") -> set[tuple[int, int, str, float, int]]:
    rows = client.query(f"SELECT user_id, item_id, signal, value, version FROM signals_v WHERE {where}").result_rows
    return {(int(r[0]), int(r[1]), str(r[2]), float(r[3]), int(r[4])) for r in rows}


EVENTS = st.lists(
    st.builds(
        lambda action, stars, item, ms, tie: (action, stars if action is Action.RATE else None, item, ms, tie),
        st.sampled_from(Action), st.sampled_from([0.5, 3.0, 5.0]), st.integers(1, 2), st.integers(0, 3),
        st.integers(1, 2**128 - 1),
    ),
    min_size=1, max_size=8, unique_by=lambda e: e[4],
)  # fmt: skip
_users = iter(range(1, 10**9))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_any_order_repetition_and_blocking_gives_the_signals_that_python_computes(
    client: Client, events: list[tuple[Action, float | None, int, int, int]], data: st.DataObject
) -> None:
    user = next(_users)  # one table for all examples: each has a viewer of its own
    rows = [
        row(user * 100 + n, action=a, value=v, user=user, item=i, event_id=e, time=START + timedelta(milliseconds=ms))
        for n, (a, v, i, ms, e) in enumerate(events)
    ]
    for block in data.draw(st.lists(st.lists(st.sampled_from(rows), min_size=1, max_size=6), max_size=3)):
        insert(client, block)
    order = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(order)))
    for block in (order[:cut], order[cut:]):
        if block:
            insert(client, block)
    assert signals(client, f"user_id = {user}") == oracle(rows)
    shown = client.query(f"SELECT count(), uniqExact(event_id) FROM events_v WHERE user_id = {user}").result_rows[0]
    assert tuple(shown) == (len(rows), len(rows))


def test_the_same_block_again_repairs_signals_that_a_crash_left_out(client: Client) -> None:
    insert(client, [row(0), row(1, item=2)], insert_deduplication_token="t")
    client.command("TRUNCATE TABLE signals")
    insert(client, [row(0), row(1, item=2)], insert_deduplication_token="t")
    assert {(s[1], s[2], s[3]) for s in signals(client)} == {(1, "opinion", 1.0), (2, "opinion", 1.0)}
    assert client.query("SELECT count() FROM events").result_rows == [(2,)], "the token dropped the repeated block"


def test_one_event_in_two_records_shows_once_with_its_later_time(client: Client) -> None:
    insert(
        client, [row(0, event_id=7), row(1, event_id=7, time=START + timedelta(seconds=5)), row(2, event_id=7, user=2)]
    )
    found = client.query("SELECT user_id, offset FROM events_v ORDER BY user_id").result_rows
    assert [tuple(r) for r in found] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("wrong", "right"), [(1.0, 0.5), (0.5, 1.0)])
def test_of_one_record_decoded_twice_the_later_decoder_counts(
    client: Client, order: tuple[int, int], wrong: float, right: float
) -> None:
    decoded = [
        row(0, action=Action.RATE, value=wrong, decoder=DECODER_VERSION - 1),
        row(0, action=Action.RATE, value=right),
    ]
    for n in order:
        insert(client, [decoded[n]])
    ((*_, value, version),) = signals(client)
    assert (value, version) == (right, signal_version(decoded[1][9], uuid.UUID(int=decoded[1][5]), right))


def test_an_erased_viewer_is_in_no_view(client: Client) -> None:
    insert(client, [row(0), row(1, user=2)])
    client.command("INSERT INTO erased_users (user_id) VALUES (1)")
    for view in ("events_v", "signals_v"):
        assert client.query(f"SELECT user_id FROM {view}").result_rows == [(2,)]


def test_erasing_a_viewer_deletes_every_row_and_the_audit_still_adds_up(client: Client) -> None:
    insert(client, [row(0), row(1, user=2), row(2)])
    client.command(
        "INSERT INTO events_quarantine (epoch, partition, offset, topic, record_time, reason, user_id) "
        f"VALUES ({TOPIC.epoch}, 0, 3, 'events', 0, 'json', 1)"
    )
    assert erasure.erase(client, UserId(1)) == 4, "two events, one signal, one quarantined record"
    for table in ("events", "signals", "events_quarantine"):
        assert client.query(f"SELECT count() FROM {table} WHERE user_id = 1").result_rows == [(0,)]
    assert client.query("SELECT user_id FROM events").result_rows == [(2,)]
    assert audit.missing(client, TOPIC, {0: 4}, {0: 0}) == {0: 0}
    assert erasure.is_erased(client, UserId(1))
    assert not erasure.is_erased(client, UserId(2))
    insert(client, [row(0)])  # under way when the viewer was erased
    assert client.query("SELECT count() FROM events_v WHERE user_id = 1").result_rows == [(0,)]
    assert erasure.purge(client) == 2
    assert erasure.purge(client) == 0


def test_the_audit_counts_what_is_missing_wherever_it_should_be(client: Client) -> None:
    insert(client, [row(n) for n in (10, 11, 12, 12)] + [row(5, partition=1)])
    client.command(
        f"INSERT INTO absent_offsets (epoch, partition, offset, reason) VALUES ({TOPIC.epoch}, 0, 13, 'erased')"
    )
    client.command(
        "INSERT INTO events_quarantine (epoch, partition, offset, topic, record_time, reason) "
        f"VALUES ({TOPIC.epoch}, 0, 14, 'events', 0, 'json')"
    )
    assert audit.missing(client, TOPIC, {0: 15, 1: 8}, {0: 10, 1: 5}) == {0: 0, 1: 2}
    assert audit.missing(client, TOPIC, {0: 17, 1: 6}, {0: 8}) == {0: 4, 1: 5}
    assert audit.missing(client, TOPIC, {0: 10}, {0: 10}) == {0: 0}
    assert audit.missing(client, TOPIC, {}, {}) == {}


def test_first_offsets_are_kept_per_incarnation(client: Client) -> None:
    audit.note_first_offsets(client, TOPIC, {0: 3, 1: 0})
    assert audit.first_offsets(client, TOPIC) == {0: 3, 1: 0}
    assert audit.first_offsets(client, TopicIdentity("events", "another id", (0,))) == {}


def test_one_viewers_signals_are_found_by_the_primary_key_among_many(client: Client) -> None:
    client.command(
        "INSERT INTO signals SELECT 1 + number % 6000, intDiv(number, 6000), 'opinion', 1, now64(6), number"
        " FROM numbers(600000)"
    )
    plan = client.query("EXPLAIN indexes = 1 SELECT * FROM signals_v WHERE user_id = 77").result_rows
    granules = next(line.split(":")[1] for (line,) in plan if "Granules:" in line and "/" in line)
    read, total = (int(n) for n in granules.split("/"))
    assert read <= 4 < total
    seed = random.Random(1)
    begun = time.monotonic()
    for _ in range(20):
        assert len(signals(client, f"user_id = {seed.randint(1, 6000)}")) == 100
    assert (time.monotonic() - begun) / 20 < 0.1

"""Where the live history comes from, on the real Kafka and ClickHouse: holes, odd bytes, retention, the way back."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from uuid import UUID, uuid4

import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.kafka import TopicIdentity, admin, describe_topic, end_offsets
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.contracts.tables import ABSENT_OFFSETS, ERASED_USERS, EVENTS
from services.inference.history import backfill as backfill_module
from services.inference.history import topic_follower, topic_reader
from services.inference.history.backfill import Backfill
from services.inference.history.live import LiveHistory
from services.inference.history.spans import Spans
from services.inference.history.stamps import slot_and_version
from services.inference.history.stored_events import StoredEvents
from services.inference.history.topic_follower import TopicFollower
from services.inference.history.topic_reader import ReplayError, StartingPoint, TopicReader
from services.inference.metrics import Metrics
from services.trainer.data.extract import read_signals
from services.trainer.data.signals import pivot
from tests.support import raw_headers
from tests.support.inference import wait_until
from tests.support.services import ClickHouseServer, KafkaServer

NOW = datetime(2026, 11, 20, tzinfo=timezone.utc)
NOWHERE = "http://default:@127.0.0.1:9/default"
VIEWER = UserId(7)


def event(number: int, user: int = VIEWER, action: Action = Action.LIKE, value: float | None = None) -> Event:
    return Event(
        user_id=UserId(user), item_id=ItemId(number), action=action, value=value, event_id=uuid4(),
        event_time=NOW + timedelta(seconds=number), source="test",
    )  # fmt: skip


@dataclass
class Follower:
    """What follows the topic in a replica, without the rest of it."""

    live: LiveHistory
    follower: TopicFollower
    registry: CollectorRegistry

    def films(self, user: int = VIEWER) -> list[int]:
        return sorted(slot >> 2 for slot in self.live.of(UserId(user)).slots)

    def gap(self) -> float | None:
        return self.registry.get_sample_value("live_history_gap_offsets")

    def skipped(self) -> float | None:
        return self.registry.get_sample_value("live_history_skipped_total")


@contextmanager
def following(kafka: KafkaServer, topic: str, start: StartingPoint, clickhouse: str = NOWHERE) -> Iterator[Follower]:
    registry, live = CollectorRegistry(), LiveHistory()
    metrics = Metrics(registry)
    reader = TopicReader(kafka.bootstrap, topic, metrics)
    backfill = Backfill(SecretStr(clickhouse), reader=reader, live=live, metrics=metrics)
    follower = TopicFollower(topic, live=live, reader=reader, backfill=backfill, metrics=metrics, recheck_seconds=0.5)
    follower.cover(start)
    try:
        yield Follower(live, follower, registry)
    finally:
        follower.stop()


def identity_of(kafka: KafkaServer, topic: str) -> TopicIdentity:
    return describe_topic(admin(kafka.bootstrap), topic)


def produce(kafka: KafkaServer, topic: str, *values: Event | bytes, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in values:
        raw = value if isinstance(value, bytes) else value.model_dump_json().encode()
        producer.produce(topic, raw, partition=partition)
    assert producer.flush(20) == 0


def delete_before(kafka: KafkaServer, topic: str, offset: int, partition: int = 0) -> None:
    """As retention does."""
    place = TopicPartition(topic, partition, offset)
    client = admin(kafka.bootstrap)
    client.delete_records([place])[place].result(20)


@pytest.fixture
def database(clickhouse_database: str) -> Client:
    client = connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    return client


def store(client: Client, epoch: int, events: list[Event], first: int = 0, partition: int = 0) -> None:
    """What the consumer would have written."""
    client.insert(
        EVENTS,
        [
            [epoch, partition, offset, NOW, e.event_id, e.user_id, e.item_id, e.action.value, e.value, e.event_time,
             e.source, 1]
            for offset, e in enumerate(events, first)
        ],
        column_names=["epoch", "partition", "offset", "record_time", "event_id", "user_id", "item_id", "action",
                      "value", "event_time", "source", "schema_version"],
    )  # fmt: skip


def test_markers_and_aborted_transactions_keep_nobody_waiting(kafka: KafkaServer, topic: Callable[..., str]) -> None:
    events = topic(partitions=3)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"tx-{uuid4()}"})
    producer.init_transactions(20)
    # Partition 0 ends with a marker, 1 with an aborted transaction, and 2 holds nothing else.
    for number, is_kept in ((1, True), (2, False), (3, True)):
        producer.begin_transaction()
        for partition in (0, 1) if is_kept else (1, 2):
            producer.produce(events, event(number * 10 + partition).model_dump_json(), partition=partition)
        if is_kept:
            producer.commit_transaction(20)
        else:
            producer.flush(20)
            producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(events, event(99).model_dump_json(), partition=1)
    producer.flush(20)
    producer.abort_transaction(20)
    topic_id = identity_of(kafka, events).topic_id
    with following(kafka, events, StartingPoint(topic_id, {0: 2, 1: 5, 2: 1})) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        one.follower.uncover(StartingPoint(topic_id, {0: 2, 1: 5, 2: 1}))
        assert one.gap() == 0
        one.follower.cover(StartingPoint(topic_id, {0: 0, 1: 0, 2: 0}))  # the way back ends too
        assert one.films() == [10, 11, 30, 31]
        # A transaction that is still open lies behind what can be read: nobody waits for its end.
        producer.begin_transaction()
        producer.produce(events, event(40).model_dump_json(), partition=0)
        producer.flush(20)
        with following(kafka, events, StartingPoint(topic_id, {0: 0, 1: 0, 2: 0})) as two:
            wait_until(lambda: two.follower.caught_up, "it is ready")
            assert two.films() == [10, 11, 30, 31]
            producer.commit_transaction(20)
            wait_until(lambda: one.films() == two.films() == [10, 11, 30, 31, 40], "the rest is read after the commit")


def loses_its_session(kafka: KafkaServer, topic: str) -> bool:
    """Freeze the broker past its session (3 s); return whether a client that asked before is refused now.

    It is not when its connection was lost, too: then it asks for the new leader epoch.
    """
    client, identity = admin(kafka.bootstrap), identity_of(kafka, topic)
    end_offsets(client, identity)
    kafka.freeze()
    time.sleep(5)
    kafka.thaw()
    for _ in range(20):
        try:
            end_offsets(client, identity)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.FENCED_LEADER_EPOCH:
                return True
        time.sleep(0.2)
    return False


def test_a_broker_that_was_away_for_longer_than_its_session_is_read_again(own_kafka: KafkaServer) -> None:
    """Its partitions have a new leader epoch then, which a client that asked before does not learn by itself."""
    events = own_kafka.create_topic(partitions=1)
    produce(own_kafka, events, event(1), event(2), event(3))
    topic_id = identity_of(own_kafka, events).topic_id
    with following(own_kafka, events, StartingPoint(topic_id, {0: 2})) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        one.follower.cover(StartingPoint(topic_id, {0: 1}))
        assert one.films() == [2, 3]
        assert any(loses_its_session(own_kafka, events) for _ in range(6)), "the test shows nothing"
        produce(own_kafka, events, event(4))

        def is_read() -> bool:
            with suppress(ReplayError):
                one.follower.cover(StartingPoint(topic_id, {0: 0}))
            return one.films() == [1, 2, 3, 4]

        wait_until(is_read, "what lies before is read, and what came since", 30)


def test_no_record_ends_the_following(kafka: KafkaServer, topic: Callable[..., str]) -> None:
    events = topic(partitions=2)
    good = event(1).model_dump_json().encode()
    odd = [
        b"", b"\xff\x00", b"[" * 100_000, b"null", b"{}", good[:-1], good.replace(b'"user_id":7', b'"user_id":true'),
        good.replace(b'"user_id":7', b'"user_id":9223372036854775808'), good.replace(b"2026-11", b"2100-11"),
        good.replace(b"2026-11-20T00:00:01Z", b"9999-12-31T23:59:59-23:59"), b'{"a":' * 5_000, b"\x00" * 900_000,
        good.replace(b'"value":null', b'"value":1e999'), good.replace(b"like", b"rate"),
    ]  # fmt: skip
    produce(kafka, events, *odd, event(2))
    raw_headers.produce(kafka.bootstrap, events, key=b"\xff", value=good, headers=[(b"\xff\xfe", b"\xff")])
    produce(kafka, events, event(3), partition=1)
    with following(kafka, events, StartingPoint(identity_of(kafka, events).topic_id, {0: 0, 1: 0})) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        assert one.films() == [1, 2, 3]
        assert one.skipped() == len(odd)
        produce(kafka, events, *odd, event(4))
        last = event(5).model_dump_json().encode()
        raw_headers.produce(kafka.bootstrap, events, key=b"", value=last, headers=[(b"\xff", None)])
        wait_until(lambda: one.films() == [1, 2, 3, 4, 5], "what follows is read")
        assert one.skipped() == 2 * len(odd)


def test_what_retention_deleted_comes_from_clickhouse(
    kafka: KafkaServer, topic: Callable[..., str], database: Client, clickhouse_database: str
) -> None:
    events = topic(partitions=1)
    identity = identity_of(kafka, events)
    said = [event(number) for number in range(1, 11)]
    produce(kafka, events, *said)
    store(database, identity.epoch, said[:7])
    delete_before(kafka, events, 5)
    with following(kafka, events, StartingPoint(identity.topic_id, {0: 2}), clickhouse_database) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        assert one.films() == list(range(3, 11))
        assert (one.gap(), one.follower.gap) == (0, None)


@pytest.mark.parametrize("trouble", ["frozen", "behind", "without tables"])
def test_kafka_gives_what_clickhouse_cannot(
    kafka: KafkaServer, topic: Callable[..., str], own_clickhouse: ClickHouseServer, monkeypatch: pytest.MonkeyPatch,
    trouble: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(backfill_module, "KAFKA_ALONE_UP_TO", 0)
    events = topic(partitions=1)
    identity = identity_of(kafka, events)
    said = [event(number) for number in range(1, 11)]
    produce(kafka, events, *said)
    if trouble != "without tables":
        client = connect(SecretStr(own_clickhouse.url()))
        migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
        store(client, identity.epoch, said[:2])
        store(client, identity.epoch, said[4:6], first=4)
    if trouble == "frozen":
        own_clickhouse.freeze()
    try:
        with following(kafka, events, StartingPoint(identity.topic_id, {0: 0}), own_clickhouse.url()) as one:
            wait_until(lambda: one.follower.caught_up, "it is ready")
            assert one.films() == list(range(1, 11))
            assert one.gap() == 0
    finally:
        own_clickhouse.thaw()


def test_what_neither_has_is_a_gap_until_clickhouse_has_it(
    kafka: KafkaServer, topic: Callable[..., str], own_clickhouse: ClickHouseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_module, "_GAP_RETRY_SECONDS", 0.5)
    events = topic(partitions=2)
    identity = identity_of(kafka, events)
    said = [event(number) for number in range(1, 7)]
    produce(kafka, events, *said)
    produce(kafka, events, event(90), partition=1)
    delete_before(kafka, events, 4)
    client = connect(SecretStr(own_clickhouse.url()))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    own_clickhouse.stop()
    with following(kafka, events, StartingPoint(identity.topic_id, {0: 1, 1: 0}), own_clickhouse.url()) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready all the same")
        assert one.films() == [5, 6, 90]
        assert one.gap() == 3
        assert one.follower.gap is not None
        assert "offsets 1 to 3" in one.follower.gap
        own_clickhouse.start()
        client = connect(SecretStr(own_clickhouse.url()))
        store(client, identity.epoch, said[1:3], first=1)  # behind: one is missing still
        wait_until(lambda: one.gap() == 1, "the gap is smaller")
        assert one.films() == [2, 3, 5, 6, 90]
        client.insert(ABSENT_OFFSETS, [[identity.epoch, 0, 3, "erased"]],
                      column_names=["epoch", "partition", "offset", "reason"])  # fmt: skip
        wait_until(lambda: one.gap() == 0, "nothing is missing")
        assert one.follower.gap is None


def test_a_topic_that_was_made_again_leaves_nothing_of_the_old_one_behind(
    kafka: KafkaServer, topic: Callable[..., str], database: Client, clickhouse_database: str
) -> None:
    events = topic(partitions=1)
    old = identity_of(kafka, events)
    store(database, old.epoch, [event(number) for number in (1, 2, 3)])
    kafka_admin = admin(kafka.bootstrap)
    kafka_admin.delete_topics([events])[events].result(20)

    def recreated() -> bool:
        try:
            return topic(events, partitions=1) == events
        except Exception:
            return False

    wait_until(recreated, "the topic is recreated")
    produce(kafka, events, event(9))
    with following(kafka, events, StartingPoint(old.topic_id, {0: 1}), clickhouse_database) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        assert one.films() == [2, 3, 9]


def test_a_way_back_that_takes_too_long_goes_on_where_it_stopped(
    kafka: KafkaServer, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    events = topic(partitions=1)
    topic_id = identity_of(kafka, events).topic_id
    produce(kafka, events, *(event(number) for number in range(1, 2_001)))
    monkeypatch.setattr(topic_follower, "_REPLAY_SECONDS", 0.2)
    monkeypatch.setattr(topic_reader, "BATCH", 99)
    read: list[int] = []
    with following(kafka, events, StartingPoint(topic_id, {0: 2_000})) as one:
        wait_until(lambda: one.follower.caught_up, "it is ready")
        one.follower.uncover(StartingPoint(topic_id, {0: 2_000}))
        take = TopicReader.take

        def slowly(reader: TopicReader, consumer: object) -> object:
            result = take(reader, consumer)  # type: ignore[arg-type]
            read.append(len(result.changes))
            one.follower._stopping.wait(0.1)
            return result

        monkeypatch.setattr(TopicReader, "take", slowly)
        oldest = StartingPoint(topic_id, {0: 0})
        for _ in range(2):
            with pytest.raises(ReplayError, match="still to be read"):
                one.follower.cover(oldest)
        monkeypatch.setattr(topic_follower, "_REPLAY_SECONDS", 30)
        one.follower.cover(oldest)
        assert len(one.films()) == 2_000
        assert sum(read) == 2_000, "nothing was read twice"


def test_live_history_clickhouse_and_the_next_model_hold_the_same_versions(database: Client) -> None:
    said = [event(n, user=n % 3 + 1, action=a) for n, a in enumerate(Action, 1) if a is not Action.RATE]
    said += [event(50 + n, action=Action.RATE, value=value) for n, value in enumerate((0.5, 3.3, 5.0))]
    said += [said[0].model_copy(update={"event_time": NOW - timedelta(days=300)}), said[1].model_copy(
        update={"event_id": UUID(int=2**128 - 1), "action": Action.DISLIKE})]  # fmt: skip
    erased = event(1, user=66)
    store(database, 5, [*said, erased])
    database.insert(ERASED_USERS, [[66]], column_names=["user_id"])
    expected = LiveHistory()
    expected.fold((e.user_id, *slot_and_version(e)) for e in said)
    found = LiveHistory()
    wanted = Spans()
    wanted.add(0, 0, 100)
    for _, batches in StoredEvents(database).changes(5, wanted):
        for changes in batches:
            found.fold(changes)
    for user in (1, 2, 3, VIEWER, 66):
        assert found.of(UserId(user)).slots == expected.of(UserId(user)).slots
    # The next model holds the same: what a replica knows live is no newer than what was trained on.
    history = pivot(read_signals(database))
    for position, user in enumerate(history.user_ids):
        trained = {}
        for row in range(history.indptr[position], history.indptr[position + 1]):
            for kind, (high, low) in enumerate(history.versions[row].tolist()):
                if high:
                    trained[int(history.item_ids[row]) << 2 | kind] = high << 64 | low
        assert trained == expected.of(UserId(int(user))).slots
    assert history.user_ids.tolist() == [1, 2, 3, VIEWER]


def test_what_clickhouse_holds_is_told_with_its_holes(database: Client) -> None:
    store(database, 5, [event(1)] * 4, first=10)
    store(database, 5, [event(1)] * 2, first=12)  # again, in another block
    store(database, 5, [event(1)] * 3, first=20)
    store(database, 6, [event(1)] * 30)
    database.insert(ABSENT_OFFSETS, [[5, 0, 14, "erased"]], column_names=["epoch", "partition", "offset", "reason"])
    wanted = Spans()
    wanted.add(0, 11, 22)
    wanted.add(1, 0, 5)
    assert list(StoredEvents(database).held(5, wanted)) == [(0, 11, 15), (0, 20, 22)]

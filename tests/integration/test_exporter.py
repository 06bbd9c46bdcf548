"""The exporter on the real stores: each figure against data whose answer is known; what happens when one is away."""

import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from math import log2
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from services.common import audit, erased, postgres
from services.common.kafka import describe_topic
from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.step_log import note_step
from services.contracts.ids import PROBE_USER, UserId
from services.contracts.impressions import Impression
from services.contracts.metrics import (
    CATALOGUE_COVERAGE,
    CTR,
    ERASURE_OLDEST_PENDING,
    ERASURES_PENDING,
    INGEST_AUDIT_MISSING,
    INGEST_CONSUMER_LAG,
    INGEST_LAST_COMMITTED,
    INGEST_RETENTION_HEADROOM,
    INGEST_UNKNOWN_FILMS,
    LISTS_LIKED,
    LISTS_SHOWN,
    NOVELTY,
)
from services.exporter import audit_ledger, lists, models, stream, unknown_films
from tests.support.pipeline import Pipeline, event
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until
from tests.support.services import ClickHouseServer, KafkaServer, PostgresServer

HOUR = timedelta(hours=1)


@pytest.fixture
def pipeline(kafka: KafkaServer, clickhouse_database: str, tmp_path: Path) -> Pipeline:
    return Pipeline(kafka.bootstrap, clickhouse_database, tmp_path)


@pytest.fixture
def database(postgres_database: str) -> str:
    with postgres.connect(SecretStr(postgres_database), autocommit=True) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
    return postgres_database


class Exporter:
    """``python -m services.exporter``, and what it shows."""

    def __init__(self, pipeline: Pipeline, dsn: str, **changes: str) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        environment = pipeline.env(
            POSTGRES_DSN=dsn, EXPORTER_PORT=str(port), EXPORTER_INTERVAL_SECONDS="0.3", **changes
        )
        argv = [sys.executable, "-m", "services.exporter"]
        self.process = ServiceProcess("exporter", argv, pipeline.folder / "exporter.log", env=environment)

    def start(self) -> "Exporter":
        self.process.start().wait_ready(self.answers, 30)
        return self

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the metric's samples by the values of their labels, in the order of the labels' names."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics", timeout=5).text)
        samples = (s for family in families for s in family.samples if s.name == name)
        return {tuple(v for _, v in sorted(s.labels.items())): s.value for s in samples}


@pytest.fixture
def exporter(pipeline: Pipeline, database: str) -> Iterator[Exporter]:
    pipeline.make_topics()
    made = Exporter(pipeline, database)
    yield made
    made.process.close()


def test_a_dead_consumers_lag_is_shown_from_outside(pipeline: Pipeline, exporter: Exporter) -> None:
    pipeline.produce([event(n) for n in range(60)])
    consumer = pipeline.consumer()
    consumer.start()
    wait_until(lambda: pipeline.count("events") == 60, 30, "60 rows")
    assert consumer.stop() == 0
    stored_at = time.time()
    exporter.start()

    def lag() -> float:
        found = exporter.values("ingest_consumer_lag_messages")
        return sum(found.values()) if len(found) == pipeline.partitions + 2 else -1  # each topic shows by itself

    def last() -> dict[tuple[str, ...], float]:
        return exporter.values("ingest_last_committed_event_timestamp_seconds")

    wait_until(lambda: lag() == 0, 20, "no lag")
    (before,) = last().values()
    assert stored_at - 60 < before <= stored_at + 1
    headroom = exporter.values("ingest_retention_headroom_seconds")
    assert headroom[(pipeline.events_topic,)] == pytest.approx(86_400, abs=1)

    pipeline.produce([event(n) for n in range(60, 100)])
    wait_until(lambda: lag() == 40, 20, "a lag of 40")
    assert list(last().values()) == [before]
    wait_until(
        lambda: exporter.values("ingest_retention_headroom_seconds")[(pipeline.events_topic,)] < 86_399,
        20,
        "it shrinks",
    )


def test_records_deleted_before_they_were_stored_leave_no_time(pipeline: Pipeline) -> None:
    pipeline.make_topics()
    topic = describe_topic(pipeline.admin, pipeline.events_topic)
    pipeline.produce_raw([(b"k", b"v")] * 10, topic.name, partition=0)

    def collect() -> tuple[float, float, dict[tuple[str, ...], float]]:
        found = stream.collect(pipeline.admin, pipeline.bootstrap, pipeline.group, topic.name)
        headroom, lag = found[INGEST_RETENTION_HEADROOM][(topic.name,)], found[INGEST_CONSUMER_LAG]
        return headroom, lag[topic.name, "0"], dict(found[INGEST_LAST_COMMITTED])

    def commit(offset: int, topic_id: str) -> None:
        group = Consumer({"bootstrap.servers": pipeline.bootstrap, "group.id": pipeline.group})
        group.commit(offsets=[TopicPartition(topic.name, 0, offset, topic_id)], asynchronous=False)
        group.close()

    commit(7, "another incarnation")
    headroom, lag, last = collect()
    assert (lag, last) == (10, {}), "nothing of this incarnation is stored"
    assert 86_300 < headroom < 86_400
    commit(2, topic.topic_id)
    headroom, lag, last = collect()
    assert lag == 8
    assert time.time() - 100 < last[(topic.name,)] <= time.time() + 1
    assert 86_300 < headroom < 86_400
    (deleted,) = pipeline.admin.delete_records([TopicPartition(topic.name, 0, 5)]).values()
    deleted.result(15)
    assert collect() == (0, 8, {})


def test_lists_and_likes_are_counted_once_and_by_what_showed_them(pipeline: Pipeline) -> None:
    client = pipeline.connect()
    now = datetime.now(timezone.utc)
    shown = [
        impression(1, "a", [10, 11], now),
        impression(2, "a", [10, 12], now - 2 * HOUR),
        impression(3, "b", [13, 14], now - 2 * HOUR),
        impression(4, "b", [15, 16], now - 8 * 24 * HOUR),
        impression(PROBE_USER, "a", [17, 18], now),
        impression(5, "a", [19, 20], now),
    ]
    insert_impressions(pipeline, shown)
    insert_impressions(pipeline, shown[:1], offset=100)  # the same list, produced twice
    liked = [
        event(0).model_copy(update={"user_id": 1, "item_id": 10, "request_id": shown[0].request_id}),
        event(1).model_copy(update={"user_id": 1, "item_id": 11, "request_id": shown[0].request_id}),
        event(2).model_copy(update={"user_id": 9, "item_id": 12, "request_id": shown[1].request_id}),  # somebody else's
        event(3).model_copy(update={"user_id": PROBE_USER, "item_id": 17, "request_id": shown[4].request_id}),
    ]
    insert_likes(pipeline, liked)
    client.insert("erased_users", [[5]], column_names=["user_id"])

    found = lists.collect(client, films=10)
    a_hour, a_day, b_day = ("a", "main", "1h"), ("a", "main", "1d"), ("b", "main", "1d")
    assert found[LISTS_SHOWN] == {
        a_hour: 1, a_day: 2, ("a", "main", "7d"): 2, b_day: 1, ("b", "main", "7d"): 1,
    }  # fmt: skip
    assert found[LISTS_LIKED][a_hour] == 1
    assert found[LISTS_LIKED][a_day] == 1
    assert found[LISTS_LIKED][b_day] == 0
    assert found[CTR][a_hour] == 1
    assert found[CTR][a_day] == 0.5
    assert found[CATALOGUE_COVERAGE] == {("1h",): 0.2, ("1d",): 0.5, ("7d",): 0.5}


def test_novelty_is_the_mean_self_information_of_what_was_shown(pipeline: Pipeline) -> None:
    # Four viewers like something: film 10 all of them, film 11 one; 12 nobody, which counts as one.
    insert_likes(pipeline, [event(n).model_copy(update={"user_id": n + 1, "item_id": 10}) for n in range(4)])
    insert_likes(pipeline, [event(9).model_copy(update={"user_id": 1, "item_id": 11})], offset=50)
    insert_likes(pipeline, [event(8).model_copy(update={"user_id": PROBE_USER, "item_id": 11})], offset=60)
    now = datetime.now(timezone.utc)
    shown = [impression(1, "a", [10, 11], now), impression(2, "a", [10, 12], now)]
    insert_impressions(pipeline, shown)
    insert_impressions(pipeline, shown[:1], offset=100)  # the same list, produced twice
    expected = (log2(4 / 4) * 2 + log2(4 / 1) + log2(4 / 1)) / 4
    assert lists.collect(pipeline.connect(), films=3)[NOVELTY] == {(w,): pytest.approx(expected) for w in lists.WINDOWS}


def test_signals_of_films_that_the_catalogue_does_not_have_are_counted(pipeline: Pipeline) -> None:
    likes = [event(n).model_copy(update={"user_id": n + 1, "item_id": 10 + n % 3}) for n in range(9)]
    insert_likes(pipeline, likes)
    insert_likes(pipeline, likes, offset=100)  # the same events, produced twice
    client = pipeline.connect()
    assert unknown_films.collect(client, {10, 11, 12}) == {INGEST_UNKNOWN_FILMS: {(): 0.0}}
    assert unknown_films.collect(client, {10, 99}) == {INGEST_UNKNOWN_FILMS: {(): 6.0}}
    client.insert("erased_users", [[2]], column_names=["user_id"])
    assert unknown_films.collect(client, {10, 99}) == {INGEST_UNKNOWN_FILMS: {(): 5.0}}


def test_a_topic_that_is_missing_hides_no_other(pipeline: Pipeline, database: str) -> None:
    pipeline.make_topics()
    pipeline.produce([event(n) for n in range(7)])
    exporter = Exporter(pipeline, database, IMPRESSIONS_TOPIC="not-there")
    try:
        exporter.start()
        wait_until(lambda: sum(exporter.values("ingest_consumer_lag_messages").values()) == 7, 30, "the other's lag")
        assert exporter.values("dependency_up")[("kafka",)] == 1
    finally:
        exporter.process.close()


def test_an_empty_stack_shows_no_lists_and_fails_nothing(pipeline: Pipeline) -> None:
    found = lists.collect(pipeline.connect(), films=0)
    assert all(not samples for samples in found.values())


def test_a_full_audits_finding_stays_until_a_full_audit_finds_it_gone(pipeline: Pipeline) -> None:
    pipeline.make_topics()
    client = pipeline.connect()
    topic = describe_topic(pipeline.admin, pipeline.events_topic)
    audit.note_first_offsets(client, topic, {0: 0})
    at = datetime.now(timezone.utc) - HOUR

    def shown_after(scope: str, missing: int) -> float:
        nonlocal at
        at += timedelta(seconds=1)
        finding = audit.Finding(0, 0, 100, missing)
        audit.note_findings(client, topic.name, topic.epoch, scope=scope, findings=[finding], now=at)
        return audit_ledger.collect(client)[INGEST_AUDIT_MISSING][(topic.name, "0")]

    old = [audit.Finding(1, 0, 100, 4)]
    audit.note_findings(client, topic.name, topic.epoch, scope="full", findings=old, now=at - 400 * HOUR)
    steps = [("full", 0, 0), ("tail", 0, 0), ("full", 2, 2), ("tail", 0, 2), ("full", 0, 0), ("tail", 3, 3)]
    assert [shown_after(scope, missing) for scope, missing, _ in steps] == [then for _, _, then in steps]
    assert audit_ledger.collect(client)[INGEST_AUDIT_MISSING][(topic.name, "1")] == 4, "nobody has found it gone"


def test_the_last_run_of_each_step_is_shown(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_DSN", database)
    began = datetime.now(timezone.utc) - timedelta(seconds=7)
    note_step("one", "train", 0, began)
    note_step("two", "train", 1, began)
    note_step("", "import-files", 5, began)
    with postgres.connect(SecretStr(database)) as connection:
        found = {metric.name: samples for metric, samples in models.collect(connection).items()}
    assert found["trainer_step_last_exit_status"] == {("train",): 1, ("import-files",): 5}
    assert found["trainer_step_last_duration_seconds"][("train",)] == pytest.approx(7, abs=3)
    assert set(found["trainer_step_last_success_timestamp_seconds"]) == {("train",)}
    assert found["model_champion_info"] == {}


def test_erasures_that_wait_for_the_night_are_counted_and_dated(database: str) -> None:
    with postgres.connect(SecretStr(database)) as connection:
        collected = models.collect(connection)
        assert (collected[ERASURES_PENDING], collected[ERASURE_OLDEST_PENDING]) == ({(): 0}, {(): 0})
        first = erased.note(connection, UserId(7))
        erased.note(connection, UserId(8))
        collected = models.collect(connection)
        waited = (datetime.now(timezone.utc) - first).total_seconds()
        assert collected[ERASURES_PENDING] == {(): 2}
        assert collected[ERASURE_OLDEST_PENDING] == {(): pytest.approx(waited, abs=1)}
        assert collected[ERASURE_OLDEST_PENDING][()] > 0
        for where in erased.Where:
            assert models.collect(connection)[ERASURES_PENDING] == {(): 2}, "until both have forgotten them"
            erased.settle(connection, where, {UserId(7), UserId(8)}, set())
        collected = models.collect(connection)
        assert (collected[ERASURES_PENDING], collected[ERASURE_OLDEST_PENDING]) == ({(): 0}, {(): 0})


def test_a_store_that_is_away_or_frozen_is_told_and_hides_nothing_of_the_others(
    kafka: KafkaServer, own_clickhouse: ClickHouseServer, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    pipeline = Pipeline(kafka.bootstrap, own_clickhouse.url(own_clickhouse.create_database()), tmp_path)
    pipeline.make_topics()
    with postgres.connect(SecretStr(own_postgres.dsn()), autocommit=True) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
    exporter = Exporter(pipeline, own_postgres.dsn())
    own_clickhouse.stop()

    def wait_for_stores(**up: int) -> None:
        def is_shown() -> bool:
            return {name: value for (name,), value in exporter.values("dependency_up").items()} == up

        wait_until(is_shown, 30, f"dependency_up is {up}")

    def lag() -> float:
        return sum(exporter.values("ingest_consumer_lag_messages").values())

    try:
        exporter.start()
        wait_for_stores(kafka=1, clickhouse=0, postgres=1)
        every = pipeline.partitions + 2
        wait_until(lambda: len(exporter.values("ingest_consumer_lag_messages")) == every, 20, "the lag of both topics")
        own_clickhouse.start()
        wait_for_stores(kafka=1, clickhouse=1, postgres=1)
        own_postgres.freeze()
        wait_for_stores(kafka=1, clickhouse=1, postgres=0)
        pipeline.produce([event(n) for n in range(7)])
        wait_until(lambda: lag() == 7, 30, "lag while PostgreSQL is frozen")
        own_postgres.thaw()
        wait_for_stores(kafka=1, clickhouse=1, postgres=1)
        assert exporter.process.stop() == 0
    finally:
        exporter.process.close()
    log = exporter.process.log_file.read_text()
    for store in ("clickhouse", "postgres"):
        assert log.count(f"{store} could not be read") == 1, "once, not at every collection"
        assert log.count(f"{store} can be read again") == 1


def impression(user: int, version: str, items: Iterable[int], served_at: datetime) -> Impression:
    return Impression(
        request_id=uuid.uuid4(), user_id=user, item_ids=list(items), strategy="personal", variant="main",
        model_version=version, served_at=served_at,
    )  # fmt: skip


def insert_impressions(pipeline: Pipeline, shown: Iterable[Impression], offset: int = 0) -> None:
    columns = ["epoch", "partition", "offset", "record_time", *Impression.model_fields]
    rows = [[7, 0, offset + n, i.served_at, *i.model_dump().values()] for n, i in enumerate(shown)]
    pipeline.connect().insert("impressions", rows, column_names=columns)


def insert_likes(pipeline: Pipeline, likes: Iterable[object], offset: int = 0) -> None:
    columns = ["event_id", "user_id", "item_id", "action", "event_time", "request_id", "source", "schema_version"]
    now = datetime.now(timezone.utc)
    rows = [
        [7, 0, offset + n, now, like.event_id, like.user_id, like.item_id, "like", now, like.request_id, "test", 1]  # type: ignore[attr-defined]
        for n, like in enumerate(likes)
    ]
    pipeline.connect().insert("events", rows, column_names=["epoch", "partition", "offset", "record_time", *columns])

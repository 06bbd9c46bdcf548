"""When Kafka or ClickHouse is away, and when a viewer is erased."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from pydantic import SecretStr

from services.common import postgres
from services.common.clickhouse import connect
from services.common.kafka import admin, describe_topic
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.rest import ADMIN_KEY_HEADER
from services.importer.forget import forget as forget_in_landed_files
from services.trainer.bundles.forget import forget
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, Replica, crown, prepare_catalogue, wait_until
from tests.support.services import ClickHouseServer, KafkaServer

ADMIN = {ADMIN_KEY_HEADER: ADMIN_KEY}
EVENT_ID = "7b0a2f0e-8f6b-4d38-9d6b-1d5f2f6a0c11"


def test_a_frozen_broker_gives_503_with_what_to_send_again_and_lists_go_on(
    own_kafka: KafkaServer, postgres_database: str, tmp_path: Path
) -> None:
    prepare_catalogue(postgres_database)
    events, impressions = own_kafka.create_topic(partitions=1), own_kafka.create_topic(partitions=1)
    topic_id = describe_topic(admin(own_kafka.bootstrap), events).topic_id
    producer = Producer({"bootstrap.servers": own_kafka.bootstrap})
    producer.produce(events, b"not an event, but an offset")
    assert producer.flush(20) == 0
    crown(postgres_database, make_bundle(tmp_path, topic_id=topic_id, offsets={0: 1}).manifest)
    nowhere = "http://default:@127.0.0.1:9/default"
    replica = Replica(
        own_kafka.bootstrap, postgres_database, nowhere, tmp_path, events, impressions, publish_timeout_seconds=1.5
    ).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        assert replica.post({"user_id": 600, "item_id": 5, "action": "like"}).status_code == 202

        own_kafka.freeze()
        answer = replica.post({"user_id": 600, "item_id": 6, "action": "like", "event_id": EVENT_ID})
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert [(u["index"], u["event_id"]) for u in answer.json()["unconfirmed"]] == [(0, EVENT_ID)]
        assert 6 in replica.recommendations(600)[1]
        assert replica.ready()
        # The data of this bundle end earlier: serving it needs a look at the topic, so the other model goes on.
        crown(postgres_database, make_bundle(tmp_path, "v2", topic_id=topic_id, offsets={0: 0}).manifest)
        refused = replica.reload()
        assert (refused.status_code, "Kafka" in refused.json()["detail"]) == (503, True)
        assert replica.version() == "v1"

        own_kafka.thaw()
        again = {"user_id": 600, "item_id": 6, "action": "like", "event_id": EVENT_ID}
        wait_until(lambda: replica.post(again).status_code == 202, "Kafka takes events again", 30)
        assert 6 not in replica.recommendations(600)[1]

        wait_until(lambda: replica.reload().status_code == 200, "v2 is served", 30)

        own_kafka.kill9()
        own_kafka.start()
        wait_until(
            lambda: replica.post({"user_id": 600, "item_id": 8, "action": "like"}).status_code == 202, "it works", 60
        )
        wait_until(lambda: 8 not in replica.recommendations(600)[1], "the like is seen")
    finally:
        own_kafka.thaw()
        replica.stop()


@pytest.fixture
def replicas(
    kafka: KafkaServer, postgres_database: str, clickhouse_database: str, topic: Callable[..., str], tmp_path: Path
) -> Iterator[list[Replica]]:
    """Two replicas on all three stores."""
    prepare_catalogue(postgres_database)
    migrate_clickhouse(connect(SecretStr(clickhouse_database)), read_migrations(CLICKHOUSE_MIGRATIONS))
    events, impressions = topic(partitions=1), topic(partitions=1)
    identity = describe_topic(admin(kafka.bootstrap), events)
    crown(postgres_database, make_bundle(tmp_path, topic_id=identity.topic_id, offsets={0: 0}).manifest)
    started = []
    try:
        for _ in range(2):
            replica = Replica(
                kafka.bootstrap, postgres_database, clickhouse_database, tmp_path, events, impressions
            ).start()
            started.append(replica)
        for replica in started:
            wait_until(replica.ready, "the replica is ready")
        yield started
    finally:
        for replica in started:
            replica.stop()


def test_an_erased_viewer_is_gone_from_every_store_and_replica_and_stays_refused(replicas: list[Replica]) -> None:
    first, second = replicas
    with psycopg.connect(first.postgres) as connection:
        connection.execute("INSERT INTO users (user_id, age) VALUES (7, 30), (8, 31)")
    client = connect(SecretStr(first.clickhouse))
    for user, offset in ((7, 1), (8, 2)):
        client.command(
            "INSERT INTO events (epoch, partition, offset, record_time, event_id, user_id, item_id, action, event_time,"
            f" source, schema_version) VALUES (5, 0, {offset}, now64(3), generateUUIDv4(), {user}, 1, 'like',"
            " '2026-01-01 00:00:00.000001', 'test', 1)"
        )
        client.command(
            "INSERT INTO impressions (epoch, partition, offset, record_time, request_id, user_id, item_ids, strategy,"
            f" variant, model_version, served_at, schema_version) VALUES (6, 0, {offset}, now64(3), generateUUIDv4(),"
            f" {user}, [1, 2], 'trained', 'default', 'v1', '2026-01-01 00:00:00', 1)"
        )
    assert second.post({"user_id": 7, "item_id": 9, "action": "like"}).status_code == 202
    assert second.recommendations(7)[0] == "live"

    export = first.client.get("/v1/users/7/export", headers=ADMIN).raise_for_status().json()
    assert [(e["item_id"], e["action"], e["event_time"]) for e in export["events"]] == [
        (1, "like", "2026-01-01T00:00:00.000001Z")
    ]
    assert export["impressions"][0]["item_ids"] == [1, 2]
    assert export["demographics"]["age"] == 30

    for _ in range(2):
        assert first.client.delete("/v1/users/7", headers=ADMIN).json()["user_id"] == 7
    for table in ("events", "signals", "impressions"):
        rows = client.query(f"SELECT DISTINCT user_id FROM {table}").result_rows
        assert rows == [(8,)], table
    with psycopg.connect(first.postgres) as connection:
        assert connection.execute("SELECT user_id FROM users").fetchall() == [(8,)]

    assert first.client.get("/v1/users/7/recommendations").status_code == 410
    wait_until(lambda: second.client.get("/v1/users/7/recommendations").status_code == 410, "the other refuses too", 3)
    refused = second.post(
        {"user_id": 8, "item_id": 1, "action": "like"}, {"user_id": 7, "item_id": 1, "action": "like"}
    )
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (410, "events.1.user_id")
    assert second.client.get("/v1/users/7/history").status_code == 410
    assert first.client.get("/v1/users/7/export", headers=ADMIN).status_code == 410

    again = Replica(
        first.kafka, first.postgres, first.clickhouse, first.model_dir, first.events_topic, first.impressions_topic
    ).start()  # replays the viewer's events from the topic
    try:
        wait_until(again.ready, "the new replica is ready")
        assert again.client.get("/v1/users/7/recommendations").status_code == 410
        assert again.services.live.of(7).slots == {}  # type: ignore[arg-type]
    finally:
        again.stop()


def test_erasure_without_clickhouse_is_a_503_that_already_refuses_the_viewer(
    replicas: list[Replica], tmp_path: Path
) -> None:
    first = replicas[0]
    lonely = Replica(
        first.kafka, first.postgres, "http://default:@127.0.0.1:9/default", first.model_dir, first.events_topic,
        first.impressions_topic,
    ).start()  # fmt: skip
    try:
        wait_until(lonely.ready, "the replica is ready")
        assert lonely.client.delete("/v1/users/8", headers=ADMIN).status_code == 503
        assert lonely.client.get("/v1/users/8/recommendations").status_code == 410
    finally:
        lonely.stop()
    assert first.client.delete("/v1/users/8", headers=ADMIN).status_code == 200


def test_what_is_left_of_an_erased_viewer_is_counted_and_dated(replicas: list[Replica], kafka: KafkaServer) -> None:
    first, second = replicas
    make_bundle(first.model_dir, "older")
    day = 86_400_000
    set_retention(kafka, first.events_topic, day, segment_ms=day // 2)
    set_retention(kafka, first.impressions_topic, -1)
    assert first.client.get("/v1/users/7/erasure").status_code == 401
    assert first.client.get("/v1/users/7/erasure", headers=ADMIN).status_code == 404

    erased = first.client.delete("/v1/users/7", headers=ADMIN).raise_for_status().json()

    assert (erased["forgotten_at"], erased["pending_bundles"], erased["pending_viewers"]) == (None, 2, 1)
    events, impressions = erased["kafka"]
    assert (events["topic"], events["kept"]) == (first.events_topic, "until")
    kept = datetime.fromisoformat(events["until"]) - datetime.fromisoformat(erased["erased_at"])
    assert timedelta(hours=36) < kept < timedelta(hours=36, minutes=10)
    assert impressions == {"topic": first.impressions_topic, "kept": "unlimited", "until": None}
    assert any("MOVIELENS_DIR" in what for what in erased["not_ours"])
    assert second.client.get("/v1/users/7/erasure", headers=ADMIN).json() == erased, "whichever replica is asked"

    with postgres.connect(SecretStr(first.postgres)) as connection:
        done = forget(
            first.model_dir, first.model_dir.parent / "runs", connection, in_clickhouse=lambda _: None,
            now=datetime.now(timezone.utc) + timedelta(hours=2),
        )  # fmt: skip
        half = first.client.get("/v1/users/7/erasure", headers=ADMIN).json()
        assert (half["forgotten_at"], half["pending_viewers"]) == (None, 1), "landed files may still hold the viewer"
        forget_in_landed_files(first.model_dir.parent / "landing", connection)
    copy = done.replaced["v1"]
    for replica in replicas:
        wait_until(lambda replica=replica: replica.version() == copy, "the copy is served")  # type: ignore[misc]
        assert replica.services.store.refused is None
        assert replica.recommendations(8)[0] == "trained"
    later = first.client.delete("/v1/users/7", headers=ADMIN).json()
    assert (later["pending_bundles"], later["pending_viewers"], later["erased_at"]) == (0, 0, erased["erased_at"])
    assert later["forgotten_at"] > erased["erased_at"]


def set_retention(kafka: KafkaServer, topic: str, retention_ms: int, segment_ms: int = 3_600_000) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    changes = {"retention.ms": retention_ms, "segment.ms": segment_ms, "message.timestamp.type": "LogAppendTime"}
    for name, value in changes.items():
        resource.add_incremental_config(ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET))
    client = admin(kafka.bootstrap)
    client.incremental_alter_configs([resource])[resource].result(20)


def test_with_kafka_away_a_viewer_is_erased_and_what_it_keeps_is_unknown(
    own_kafka: KafkaServer, postgres_database: str, clickhouse_database: str, tmp_path: Path
) -> None:
    prepare_catalogue(postgres_database)
    migrate_clickhouse(connect(SecretStr(clickhouse_database)), read_migrations(CLICKHOUSE_MIGRATIONS))
    crown(postgres_database, make_bundle(tmp_path).manifest)
    events, impressions = own_kafka.create_topic(partitions=1), own_kafka.create_topic(partitions=1)
    replica = Replica(
        own_kafka.bootstrap, postgres_database, clickhouse_database, tmp_path, events, impressions
    ).start()  # fmt: skip
    try:
        wait_until(replica.ready, "the replica is ready")
        own_kafka.freeze()
        began = time.monotonic()
        answer = replica.client.delete("/v1/users/7", headers=ADMIN)
        assert time.monotonic() - began < 10
        assert answer.status_code == 200
        assert [(r["kept"], r["until"]) for r in answer.json()["kafka"]] == [("unknown", None)] * 2
    finally:
        own_kafka.thaw()
        replica.stop()


def test_a_frozen_clickhouse_holds_an_erasure_up_for_seconds_and_the_viewer_is_refused_meanwhile(
    own_clickhouse: ClickHouseServer, kafka: KafkaServer, postgres_database: str, topic: Callable[..., str],
    tmp_path: Path,
) -> None:  # fmt: skip
    prepare_catalogue(postgres_database)
    crown(postgres_database, make_bundle(tmp_path).manifest)
    url = own_clickhouse.url()
    migrate_clickhouse(connect(SecretStr(url)), read_migrations(CLICKHOUSE_MIGRATIONS))
    replica = Replica(
        kafka.bootstrap, postgres_database, url, tmp_path, topic(partitions=1), topic(partitions=1)
    ).start()  # fmt: skip
    replica.client.timeout = 60
    try:
        wait_until(replica.ready, "the replica is ready")
        own_clickhouse.freeze()
        with ThreadPoolExecutor() as pool:
            began = time.monotonic()
            answer = pool.submit(replica.client.delete, "/v1/users/7", headers=ADMIN)
            wait_until(lambda: replica.client.get("/v1/users/7/recommendations").status_code == 410, "refused", 3)
            assert answer.result().status_code == 503
            assert time.monotonic() - began < 45
        pending = replica.client.get("/v1/users/7/erasure", headers=ADMIN).json()
        assert (pending["forgotten_at"], pending["pending_viewers"]) == (None, 1)
    finally:
        own_clickhouse.thaw()
        replica.stop()

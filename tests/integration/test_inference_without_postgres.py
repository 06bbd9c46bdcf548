"""A replica that starts while PostgreSQL is away, or frozen: it serves what it served, and catches up afterwards."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.kafka import admin, describe_topic
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.rest import ADMIN_KEY_HEADER
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer, PostgresServer

ADMIN = {ADMIN_KEY_HEADER: ADMIN_KEY}
LIKES = {7: [1, 2, 3], 8: [4, 5], 9: [6]}


@pytest.fixture
def stopped(
    kafka: KafkaServer, own_postgres: PostgresServer, clickhouse_database: str, topic: Callable[..., str],
    tmp_path: Path,
) -> Iterator[Replica]:  # fmt: skip
    """A replica that served v1, erased viewer 8 and was stopped."""
    prepare_catalogue(own_postgres.dsn())
    migrate_clickhouse(connect(SecretStr(clickhouse_database)), read_migrations(CLICKHOUSE_MIGRATIONS))
    events = topic(partitions=2)
    topic_id = describe_topic(admin(kafka.bootstrap), events).topic_id
    bundle = make_bundle(tmp_path / "m", likes=LIKES, topic_id=topic_id, offsets={0: 0, 1: 0})
    crown(own_postgres.dsn(), bundle.manifest)
    replica = Replica(
        kafka.bootstrap, own_postgres.dsn(), clickhouse_database, tmp_path / "m", events, topic(partitions=1)
    ).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        assert replica.client.delete("/v1/users/8", headers=ADMIN).status_code == 200
        assert replica.post({"user_id": 500, "item_id": 5, "action": "like"}).status_code == 202
        replica.before = {user: replica.recommendations(user) for user in (7, 500, 501)}  # type: ignore[attr-defined]
    finally:
        replica.stop()
    yield replica
    own_postgres.thaw()


@pytest.mark.parametrize("trouble", ["stopped", "frozen"])
def test_it_serves_the_model_it_had_and_catches_up_when_postgresql_returns(
    stopped: Replica, own_postgres: PostgresServer, trouble: str
) -> None:
    if trouble == "stopped":
        own_postgres.stop()
    else:
        own_postgres.freeze()
    # Erased by a replica elsewhere, while this one was down: ClickHouse knows.
    connect(SecretStr(stopped.clickhouse)).insert("erased_users", [[9]], column_names=["user_id"])
    replica = stopped.start()
    try:
        wait_until(replica.ready, "the replica is ready without PostgreSQL", 25)
        assert {user: replica.recommendations(user) for user in (7, 500, 501)} == stopped.before  # type: ignore[attr-defined]
        assert stopped.before[7][0] == "trained"  # type: ignore[attr-defined]
        assert stopped.before[501][0] == "popular"  # type: ignore[attr-defined]
        for erased in (8, 9):
            assert replica.client.get(f"/v1/users/{erased}/recommendations").status_code == 410
            assert replica.client.get(f"/v1/users/{erased}/history").status_code == 410
        assert replica.post({"user_id": 500, "item_id": 6, "action": "like"}).status_code == 202

        if trouble == "stopped":
            own_postgres.start()
        else:
            own_postgres.thaw()
        crown(own_postgres.dsn(), make_bundle(replica.model_dir, "v2", likes=LIKES, seed=2).manifest)
        wait_until(lambda: replica.version() == "v2", "the new champion is served", 30)
        wait_until(lambda: replica.services.notifications.error is None, "PostgreSQL is listened to")
        assert replica.ready()
    finally:
        own_postgres.thaw()
        replica.stop()


@pytest.mark.parametrize("damage", ["no file", "torn file", "no bundle"])
def test_without_anything_to_serve_it_waits_for_postgresql(
    stopped: Replica, own_postgres: PostgresServer, damage: str
) -> None:
    kept = stopped.model_dir / "replica-state" / "served_model.json"
    if damage == "no file":
        kept.unlink()
    elif damage == "torn file":
        kept.write_bytes(kept.read_bytes()[:-3])
    else:
        (stopped.model_dir / "v1").rename(stopped.model_dir / "elsewhere")
    own_postgres.stop()
    replica = stopped.start()
    try:
        wait_until(lambda: replica.services.notifications.error not in (None, "not connected yet"), "it has tried")
        assert replica.client.get("/v1/users/7/recommendations").status_code == 503
        assert not replica.ready()
        if damage == "no bundle":
            (stopped.model_dir / "elsewhere").rename(stopped.model_dir / "v1")
        own_postgres.start()
        wait_until(replica.ready, "the replica is ready", 30)
        assert replica.version() == "v1"
    finally:
        replica.stop()

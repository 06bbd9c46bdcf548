"""The trainer's command line on real stores: load, extract, train, evaluate, publish, promote."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from psycopg import Connection
from pydantic import SecretStr

from services.common import audit, clickhouse, erased, kafka, postgres, registry
from services.common.bundle import open_bundle
from services.common.migrations import (
    CLICKHOUSE_MIGRATIONS,
    POSTGRES_MIGRATIONS,
    migrate_clickhouse,
    migrate_postgres,
    read_migrations,
)
from services.contracts.ids import PROBE_USER, UserId
from services.contracts.signals import signal_version
from services.contracts.topics import EVENTS_TOPIC
from services.importer.file_events import event_ids
from services.inference.models.served import load_served
from tests.support.processes import ROOT, wait_until
from tests.support.services import KafkaServer

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
USERS, FILMS = 60, 40
PER_USER = FILMS // 2


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A Kafka in which nobody else makes the topic `events`."""
    server = KafkaServer(tmp_path_factory.mktemp("trainer-kafka"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@dataclass
class World:
    """Stores of this test's own, and a data set with structure."""

    connection: Connection[Any]
    client: Client
    bootstrap: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def trainer(self, *argv: str, status: int = 0, **environment: str) -> dict[str, Any]:
        """Run the trainer's command line; return its last line of output."""
        return self._run("services.trainer", *argv, status=status, **environment)

    def importer(self, *argv: str, status: int = 0, **environment: str) -> dict[str, Any]:
        """Run the importer's."""
        return self._run("services.importer", *argv, status=status, **environment)

    def _run(self, module: str, *argv: str, status: int, **environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", module, *argv],
            env={**os.environ, **self.environment, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        lines = done.stdout.strip().splitlines()
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer

    def scalar(self, query: str) -> Any:
        """Return one value out of ClickHouse."""
        return self.client.query(query).result_rows[0][0]

    def store_event(self, epoch: int, partition: int, offset: int, *, user: int, item: int, action: str) -> None:
        """Write what the consumer writes for a record."""
        now = datetime.now(timezone.utc)
        row = [epoch, partition, offset, now, UUID(int=epoch + offset), user, item, action, now, "test", 1]
        names = "epoch partition offset record_time event_id user_id item_id action event_time source schema_version"
        self.client.insert("events", [row], column_names=names.split())


def write_movielens(folder: Path) -> Path:
    """Odd users love odd films (comedies) and hate two even ones; even users the other way round. Each skips a film."""
    folder.mkdir()
    random = np.random.default_rng(7)
    rows = []
    for user in range(1, USERS + 1):
        for film in range(1, FILMS + 1):
            own = user % 2 == film % 2
            if own and film // 2 % PER_USER != user // 2 % PER_USER:
                rows.append((user, film, 5))
            elif not own and film <= 4:
                rows.append((user, film, 1))
    times = 978_300_000 + random.permutation(len(rows))
    (folder / "ratings.dat").write_text(
        "".join(f"{u}::{i}::{r}::{t}\n" for (u, i, r), t in zip(rows, times, strict=True))
    )
    (folder / "movies.dat").write_text(
        "".join(f"{i}::Film {i}, The (1999)::{'Comedy' if i % 2 else 'Drama'}\n" for i in range(1, FILMS + 1))
    )
    (folder / "users.dat").write_text("".join(f"{u}::F::25::12::1\n" for u in range(1, USERS + 1)))
    return folder


@pytest.fixture
def world(postgres_database: str, clickhouse_database: str, broker: KafkaServer, tmp_path: Path) -> Iterator[World]:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    with postgres.connect(SecretStr(postgres_database)) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
        connection.commit()
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "CLICKHOUSE_URL": clickhouse_database,
            "POSTGRES_DSN": postgres_database,
            "MODEL_DIR": str(tmp_path / "models"),
            "RUNS_DIR": str(tmp_path / "runs"),
            "LANDING_DIR": str(tmp_path / "landing"),
            "TRAINER_FACTORS": "8",
            "TRAINER_REGULARIZATION": "1",
            "TRAINER_MIN_POSITIVES": "100",
            "TRAINER_WAIT_SECONDS": "0",
            "TRAINER_MODELS": '["als", "popular"]',
            "TRAINER_DEFAULT_MODEL": "als",
        }
        yield World(connection, client, broker.bootstrap, write_movielens(tmp_path / "ml"), environment)
    client.close()
    # The next test starts without the topic, as a new installation does.
    if EVENTS_TOPIC in topics(broker):
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        admin.delete_topics([EVENTS_TOPIC])[EVENTS_TOPIC].result(20)
    wait_until(lambda: EVENTS_TOPIC not in topics(broker), 20, "the topic to go")


def topics(broker: KafkaServer) -> set[str]:
    return set(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics)


def test_from_files_to_the_champion(world: World) -> None:
    loaded = world.importer("load", "--movielens", str(world.folder))
    ratings = loaded["ratings"]
    assert (loaded["films"], loaded["users"], loaded["new_ratings"]) == (FILMS, USERS, ratings)
    assert world.scalar("SELECT count() FROM events_v") == ratings == world.scalar("SELECT count() FROM signals_v")
    assert world.importer("load", "--movielens", str(world.folder))["new_ratings"] == 0
    assert world.scalar("SELECT count() FROM events") == ratings
    assert world.connection.execute("SELECT title, year, genres FROM items WHERE item_id = 1").fetchone() == (
        "The Film 1", 1999, ["Comedy"],
    )  # fmt: skip
    assert world.connection.execute("SELECT age_group, occupation FROM users WHERE user_id = 1").fetchone() == (
        "25-34", "programmer",
    )  # fmt: skip
    world.connection.commit()

    # The probe likes films all the time; nothing below may know of it.
    world.store_event(0, 1, 0, user=PROBE_USER, item=1, action="like")
    assert world.scalar(f"SELECT value FROM signals_v WHERE user_id = {PROBE_USER}") == 1
    assert world.trainer("check", "--run-id", "one")["positives"] == USERS * (PER_USER - 1)
    first = {step: world.trainer(step, "--run-id", "one") for step in ("extract", "train", "evaluate", "publish")}
    assert {step: world.trainer(step, "--run-id", "one") for step in first} == first, "steps are safe to run again"
    assert registry.champion(world.connection) is None
    promoted = world.trainer("promote", "--run-id", "one")
    assert world.trainer("promote", "--run-id", "one") == promoted
    champion = registry.champion(world.connection)
    assert champion is not None
    assert champion.version == promoted["version"]

    bundle = open_bundle(Path(world.environment["MODEL_DIR"]) / champion.version)
    arrays, manifest = bundle.arrays, bundle.manifest
    assert (manifest.topic_id, manifest.offsets, manifest.genres) == (None, {}, ["Comedy", "Drama"])
    assert manifest.rows["positives"] == USERS * (PER_USER - 1)
    assert manifest.metrics["als_hit_rate"] > manifest.metrics["popular_hit_rate"]
    # The film that each viewer has skipped is the best of the unseen ones.
    indptr, items = arrays["history_indptr"], arrays["history_item_ids"]
    assert arrays["user_ids"].tolist() == list(range(1, USERS + 1))
    assert (len(items), arrays["popularity"].sum()) == (ratings, USERS * (PER_USER - 1))
    served = load_served(open_bundle(Path(world.environment["MODEL_DIR"]) / champion.version), "champion", NOW)
    for index, user in enumerate(arrays["user_ids"].tolist()):
        given = served.default.score(served.history(UserId(user), {}))
        assert given is not None
        scores = given.copy()
        scores[np.isin(arrays["item_ids"], items[indptr[index] : indptr[index + 1]])] = -np.inf
        best = int(arrays["item_ids"][scores.argmax()])
        assert (best % 2, best // 2 % PER_USER) == (user % 2, user // 2 % PER_USER)
    # The history holds what ClickHouse holds, in versions as the contract computes them.
    digest_ids = world.client.query(
        "SELECT event_id, toUnixTimestamp64Micro(event_time), value FROM events WHERE user_id = 1 ORDER BY item_id"
    ).result_rows
    versions = arrays["history_versions"][: indptr[1], 1]
    assert [int(a) << 64 | int(b) for a, b in versions] == [
        signal_version(time, event, value) for event, time, value in digest_ids
    ]
    assert len(manifest.models["als"].canaries) == 5


def test_loading_again_brings_no_erased_viewer_back(world: World) -> None:
    world.importer("load", "--movielens", str(world.folder))
    with world.connection.transaction():
        world.connection.execute("INSERT INTO erased_users (user_id) VALUES (7)")
    world.importer("load", "--movielens", str(world.folder))
    with world.connection.transaction():
        assert world.connection.execute("SELECT user_id FROM users WHERE user_id IN (6, 7)").fetchall() == [(6,)]


def test_a_viewer_who_is_erased_while_a_run_goes_on_is_not_brought_back_by_its_model(
    world: World, tmp_path: Path
) -> None:
    world.importer("load", "--movielens", str(world.folder))
    # ClickHouse was away when this one was erased: only PostgreSQL knows.
    erased.note(world.connection, UserId(3))
    world.connection.commit()
    world.trainer("extract", "--run-id", "one")
    assert 3 not in np.load(tmp_path / "runs" / "one" / "extract" / "user_id.npy")
    erased.note(world.connection, UserId(4))  # after the extract
    world.connection.commit()
    for step in ("train", "evaluate", "publish"):
        world.trainer(step, "--run-id", "one")
    published = world.trainer("publish", "--run-id", "one")["version"]
    models = tmp_path / "models"
    users = open_bundle(models / published).arrays["user_ids"].tolist()
    assert users == [user for user in range(1, USERS + 1) if user not in (3, 4)]

    erased.note(world.connection, UserId(5))  # after the bundle was published
    world.connection.commit()
    promoted = world.trainer("promote", "--run-id", "one")
    assert promoted["version"].startswith(f"{published}.")
    assert promoted["stage"] == "champion"
    assert 5 not in open_bundle(models / promoted["version"]).arrays["user_ids"]
    assert world.trainer("promote", "--run-id", "one") == promoted, "again it changes nothing"

    forgotten = world.trainer("forget")
    assert forgotten["pending"] == 0
    assert not (models / published).exists()
    assert world.scalar("SELECT count() FROM events WHERE user_id IN (3, 4, 5)") == 0, "ClickHouse has caught up"
    erased.note(world.connection, UserId(6))
    world.connection.commit()
    world.environment["TRAINER_REGULARIZATION"] = "1e9"
    world.trainer("run", "--run-id", "bad", status=3)  # no new model, and the champion loses the viewer all the same
    assert set(world.trainer("forget")["replaced"]) == {promoted["version"]}
    for bundle in models.iterdir():
        assert 6 not in np.load(bundle / "user_ids.npy"), bundle
    champion = registry.champion(world.connection)
    assert champion is not None
    assert (models / champion.version).is_dir()


def test_event_ids_in_clickhouse_are_those_that_python_computes(world: World) -> None:
    world.importer("load", "--movielens", str(world.folder))
    rows = world.client.query("SELECT offset, partition, event_id FROM events ORDER BY offset LIMIT 3").result_rows
    content = int(rows[0][1]).to_bytes(8, "big") + bytes(24)
    expected = event_ids(content, np.array([row[0] for row in rows]))
    assert [row[2] for row in rows] == [UUID(int=int(upper) << 64 | int(lower)) for upper, lower in expected]


def test_the_gate_refuses_and_force_overrides(world: World) -> None:
    world.importer("load", "--movielens", str(world.folder))
    first = world.trainer("run", "--run-id", "good")
    # So much regularization that all factors vanish: popularity is better.
    world.environment["TRAINER_REGULARIZATION"] = "1e9"
    for _ in range(2):
        assert "the gate refused the model" in world.trainer("run", "--run-id", "bad", status=3)["event"]
    assert {v.run_id: v.stage.value for v in registry.versions(world.connection)} == {
        "good": "champion", "bad": "rejected",
    }  # fmt: skip
    forced = world.trainer("promote", "--run-id", "bad", "--force")
    assert forced["reason"].startswith("forced: its lists show")
    assert world.trainer("rollback")["version"] == first["version"]
    assert [v["stage"] for v in world.trainer("versions")["versions"]] == ["archived", "champion"]


def test_a_cut_is_only_taken_when_clickhouse_holds_every_event(world: World) -> None:
    world.importer("load", "--movielens", str(world.folder))
    admin = kafka.admin(world.bootstrap)
    kafka.ensure_topics(admin, [kafka.TopicSpec(EVENTS_TOPIC, 2, kafka.DAY_MS)])
    produce(world.bootstrap, partition=1, count=3)
    topic = kafka.describe_topic(admin, EVENTS_TOPIC)
    audit.note_first_offsets(world.client, topic, {0: 0, 1: 0})
    for offset in (0, 2):
        world.store_event(topic.epoch, 1, offset, user=1000, item=1, action="like")

    missing = world.trainer("extract", "--run-id", "one", status=1)
    assert "partition 1: 1 below offset 3" in missing["exception"]

    world.store_event(topic.epoch, 1, 1, user=1001, item=2, action="dislike")
    extracted = world.trainer("extract", "--run-id", "one")
    assert extracted["topic_id"] == topic.topic_id
    assert extracted["offsets"] == {"0": 0, "1": 3}
    assert extracted["signals"] == world.scalar("SELECT count() FROM signals_v")
    for step in ("train", "evaluate", "publish"):
        world.trainer(step, "--run-id", "one")
    bundle = open_bundle(Path(world.environment["MODEL_DIR"]) / world.trainer("publish", "--run-id", "one")["version"])
    assert (bundle.manifest.topic_id, bundle.manifest.offsets) == (topic.topic_id, {0: 0, 1: 3})
    # Who has only disliked is in the history.
    index = bundle.arrays["user_ids"].tolist().index(1001)
    start, end = bundle.arrays["history_indptr"][index : index + 2]
    assert bundle.arrays["history_opinion"][start:end].tolist() == [-1]


def test_too_little_data_settings_and_files_have_exit_statuses_of_their_own(world: World, tmp_path: Path) -> None:
    assert "the catalogue is empty" in world.trainer("check", "--run-id", "one", status=4)["event"]
    world.importer("load", "--movielens", str(world.folder))
    few = world.trainer("check", "--run-id", "one", status=4, TRAINER_MIN_POSITIVES="9999")
    assert f"{USERS * (PER_USER - 1)} likes and good ratings, 9999 are needed" in few["event"]
    assert "run the step `extract` first" in world.trainer("publish", "--run-id", "two", status=2)["event"]
    assert "run id '../x'" in world.trainer("train", "--run-id", "../x", status=2)["event"]
    assert "no MovieLens data here" in world.importer("load", "--movielens", str(tmp_path), status=2)["event"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,10,4,978300760\n1,10,9,978300761\n", "line 3: rating '9'"),
        ("ratings.csv", "1,10,4,978300760\n1,10,3,978300761\n", "line 1: the columns must be"),
        ("movies.csv", "movieId,title,genres\n10,A,War\n10,B,War\n", "line 3: 10 is another one than on line 2"),
        ("movies.csv", "movieId,title,genres\n10,A\0,War\n", "line 2: a NUL character"),
        ("movies.csv", f"movieId,title,genres\n{2**63},A,War\n", "is not an id"),
    ],
)
def test_a_data_set_with_a_bad_line_leaves_nothing_behind(
    world: World, tmp_path: Path, name: str, content: str, reason: str
) -> None:
    data = tmp_path / "csv"
    data.mkdir()
    (data / "movies.csv").write_text("movieId,title,genres\n10,A,War\n")
    (data / "ratings.csv").write_text("movieId,userId,rating,timestamp\n10,1,4,978300760\n")
    good = (data / name).read_text()
    (data / name).write_text(content)
    refused = world.importer("load", "--movielens", str(data), status=2)
    assert str(data / name) in refused["event"]
    assert reason in refused["event"]
    counts = world.connection.execute("SELECT (SELECT count(*) FROM items) + (SELECT count(*) FROM loaded_files)")
    assert counts.fetchone() == (0,)
    world.connection.commit()
    assert world.scalar("SELECT count() FROM events") == 0

    (data / name).write_text(good)
    assert world.importer("load", "--movielens", str(data))["new_ratings"] == 1
    assert world.client.query("SELECT user_id, item_id FROM events_v").result_rows == [(1, 10)]


def test_a_data_set_brings_no_erased_viewer_back_and_counts_what_it_leaves_out(world: World) -> None:
    erased.note(world.connection, UserId(1))  # ClickHouse was away: only PostgreSQL knows
    loaded = world.importer("load", "--movielens", str(world.folder))
    assert loaded["erased_ratings"] == PER_USER + 1
    assert loaded["new_ratings"] == loaded["ratings"] - loaded["erased_ratings"]
    assert world.scalar("SELECT count() FROM events WHERE user_id = 1") == 0


def produce(bootstrap: str, partition: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(count):
        producer.produce(EVENTS_TOPIC, partition=partition, value=str(number).encode())
    assert producer.flush(30) == 0

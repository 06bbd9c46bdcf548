"""MLflow agrees with the registry, whatever happens to either; on a real MLflow server."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from pydantic import SecretStr

from services.common import clickhouse, erased, postgres, registry
from services.common.migrations import (
    CLICKHOUSE_MIGRATIONS,
    POSTGRES_MIGRATIONS,
    migrate_clickhouse,
    migrate_postgres,
    read_migrations,
)
from services.contracts.bundle import Manifest
from services.contracts.ids import UserId
from tests.integration.test_trainer import World, broker, world  # noqa: F401 - fixtures
from tests.support.bundles import make_bundle
from tests.support.mlflow import MlflowServer
from tests.support.processes import ROOT

mlflow = pytest.importorskip("mlflow", reason="there is no mlflow-skinny, which is the trainer's client of MLflow")

PATIENCE_SECONDS = 2
"""How long the trainer waits for each answer of MLflow here."""
BOUND_SECONDS = 45
"""The longest that a command may take while MLflow does not answer: two starts of Python and two such waits."""
LIKES = {7: [1, 2, 3], 8: [4, 5], 9: [2]}
GONE = UserId(7)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """One server for all tests: see `mirror`."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@dataclass
class Mirror:
    """The trainer's command line with an MLflow, and the eyes of someone who looks at MLflow."""

    connection: Connection[Any]
    models: Path
    server: MlflowServer
    environment: dict[str, str]

    def trainer(self, *argv: str, status: int = 0, **changes: str) -> tuple[dict[str, Any], str]:
        """Run a command; return its result and all of its output."""
        done = subprocess.run(
            [sys.executable, "-m", "services.trainer", *argv],
            env={**os.environ, **self.environment, **changes},
            cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        lines = done.stdout.strip().splitlines()
        assert all(isinstance(json.loads(line), dict) for line in lines), "MLflow prints nothing between our lines"
        return json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr

    def publish(self, *versions: str) -> None:
        for version in versions:
            registry.register(self.connection, make_bundle(self.models, version, likes=LIKES).manifest)

    @property
    def client(self) -> Any:
        return mlflow.MlflowClient(self.server.url, self.server.url)

    def runs(self) -> dict[str, Any]:
        """Return the mirror's runs that MLflow shows, by bundle version; there is one of each."""
        shown = self.client.search_runs([self.client.get_experiment_by_name("movierecs").experiment_id])
        found = [run for run in shown if "bundle_version" in run.data.tags]
        by_version = {run.data.tags["bundle_version"]: run for run in found}
        assert len(by_version) == len(found), "a version has two runs"
        return by_version

    def model_versions(self) -> dict[str, Any]:
        """Return the versions of the registered model, by bundle version."""
        found = self.client.search_model_versions("name='movierecs'")
        by_version = {model.tags["bundle_version"]: model for model in found}
        assert len(by_version) == len(found), "a version is registered twice"
        return by_version

    def champion(self) -> str | None:
        number = self.client.get_registered_model("movierecs").aliases.get("champion")
        return next((v for v, m in self.model_versions().items() if str(m.version) == str(number)), None)

    def assert_agrees(self) -> None:
        """Compare everything that both have."""
        rows = {row.version: row for row in registry.kept(self.connection)}
        champion = registry.champion(self.connection)
        runs, models = self.runs(), self.model_versions()
        assert {version: model.tags["stage"] for version, model in models.items()} == {
            version: row.stage.value for version, row in rows.items()
        }
        assert {v: model.tags["reason"] for v, model in models.items()} == {v: r.reason or "" for v, r in rows.items()}
        assert {v: model.run_id for v, model in models.items()} == {v: run.info.run_id for v, run in runs.items()}
        assert self.champion() == (champion.version if champion else None)
        assert all(run.info.status == "FINISHED" for run in runs.values())
        on_disk = {path.name for path in self.server.artifacts.glob("*/*") if any(path.rglob("*.*"))}
        assert on_disk == {run.info.run_id for run in runs.values()}, "files of a run that is not shown"


@pytest.fixture
def migrated(postgres_database: str) -> Iterator[Connection[Any]]:
    with postgres.connect(SecretStr(postgres_database), autocommit=True) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        yield connection


@pytest.fixture
def mirror(server: MlflowServer, migrated: Connection[Any], postgres_database: str, tmp_path: Path) -> Mirror:
    environment = {
        "POSTGRES_DSN": postgres_database,
        "MODEL_DIR": str(tmp_path / "models"),
        "RUNS_DIR": str(tmp_path / "runs"),
        "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(PATIENCE_SECONDS),
    }
    (tmp_path / "models").mkdir()
    mirror = Mirror(migrated, tmp_path / "models", server, environment)
    mirror.trainer("mirror")  # of an empty registry: what the tests before this one left is removed
    assert (mirror.runs(), mirror.model_versions(), server.files()) == ({}, {}, set())
    return mirror


def test_mlflow_agrees_after_each_change_of_the_registry(mirror: Mirror) -> None:
    mirror.publish("a", "b", "c")
    assert mirror.trainer("mirror")[0] == {
        "step": "mirror", "added": ["a", "b", "c"], "removed": [], "champion": None,
    }  # fmt: skip
    mirror.assert_agrees()
    for version in "ab":
        registry.promote(mirror.connection, version, "better")
        mirror.trainer("mirror")
        assert mirror.champion() == version
        mirror.assert_agrees()
    registry.reject(mirror.connection, "c", "worse than popularity")
    mirror.trainer("mirror")
    mirror.assert_agrees()
    assert mirror.trainer("rollback")[0]["version"] == "a", "the command's own result is still its last line"
    assert mirror.champion() == "a", "nobody has to call `mirror` after it"
    mirror.assert_agrees()


def test_a_run_shows_what_was_trained_and_nothing_of_a_viewer(mirror: Mirror) -> None:
    bundle = make_bundle(mirror.models, "a", likes=LIKES, topic_id="topic")
    recipe = {"recent_days": 7, "models": {"als": {"kind": "als", "parameters": {"factors": 8}}}}
    registry.register(mirror.connection, rewritten(bundle.path, {"recipe": recipe, "train_seconds": 1.5}))
    (bundle.path / "report.md").write_text("# Report")
    mirror.trainer("mirror")
    run = mirror.runs()["a"]
    assert run.data.params == {"recent_days": "7", "models.als.kind": "als", "models.als.parameters.factors": "8"}
    assert run.data.metrics == {"ndcg_10": 0.2}
    ours = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
    assert ours == {"bundle_version": "a", "run_id": "run-a", "code_revision": "test", "topic_id": "topic"}
    assert run.info.end_time - run.info.start_time == 1500
    assert mirror.server.files() == {
        "manifest.json", "report.md", "item_ids.npy", "item_genres.npy", "popularity.npy", "popularity_recent.npy",
        "models/als/item_factors.npy",
    }  # fmt: skip
    (uploaded,) = mirror.server.artifacts.rglob("manifest.json")
    assert '"user_id"' in (bundle.path / "manifest.json").read_text()
    assert '"user_id"' not in uploaded.read_text()


def rewritten(path: Path, parameters: dict[str, Any]) -> Manifest:
    """Give a bundle these parameters in its manifest; return the manifest."""
    manifest = json.loads((path / "manifest.json").read_text()) | {"parameters": parameters}
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Manifest.model_validate(manifest)


def test_mirroring_twice_makes_nothing_twice(mirror: Mirror) -> None:
    mirror.publish("a", "b")
    registry.promote(mirror.connection, "a", "better")
    mirror.trainer("mirror")
    before = {v: (m.version, m.run_id, m.last_updated_timestamp) for v, m in mirror.model_versions().items()}
    assert mirror.trainer("mirror")[0] == {"step": "mirror", "added": [], "removed": [], "champion": "a"}
    assert {v: (m.version, m.run_id, m.last_updated_timestamp) for v, m in mirror.model_versions().items()} == before
    mirror.assert_agrees()


def test_two_at_once_make_nothing_twice(mirror: Mirror) -> None:
    mirror.publish("a", "b")
    argv = [sys.executable, "-m", "services.trainer", "mirror"]
    both = [
        subprocess.Popen(argv, env={**os.environ, **mirror.environment}, cwd=ROOT, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(120) for process in both] == [0, 0]
    mirror.assert_agrees()


def test_what_an_interruption_or_a_hand_left_is_put_right(mirror: Mirror) -> None:
    mirror.publish("a", "b", "c")
    registry.promote(mirror.connection, "a", "better")
    mirror.trainer("mirror")
    client, runs, models = mirror.client, mirror.runs(), mirror.model_versions()
    experiment = runs["a"].info.experiment_id
    half = client.create_run(experiment, tags={"bundle_version": "b"}).info.run_id  # ended while it uploaded
    client.log_text(half, "half", "half.txt")
    twice = client.create_run(experiment, tags={"bundle_version": "b"}).info.run_id
    client.set_terminated(twice)
    client.delete_run(runs["c"].info.run_id)  # in the browser: MLflow hides it and keeps its files
    client.set_registered_model_alias("movierecs", "champion", models["b"].version)
    client.set_model_version_tag("movierecs", models["b"].version, "stage", "mine")
    client.create_run(experiment, run_name="somebody's own")
    own = client.create_run(client.create_experiment("own"), run_name="elsewhere").info.run_id

    assert mirror.trainer("mirror")[0]["added"] == ["c"]

    by_hand = [r for r in client.search_runs([experiment]) if "bundle_version" not in r.data.tags]
    assert len(by_hand) == 1, "runs that the mirror did not make are left alone"
    assert client.get_run(own).info.lifecycle_stage == "active"
    mirror.assert_agrees()
    client.delete_experiment(experiment)  # and then MLflow restores all of its runs, also those that were removed
    mirror.trainer("mirror")
    mirror.assert_agrees()


def test_a_bundle_that_is_damaged_keeps_no_other_from_being_mirrored(mirror: Mirror) -> None:
    mirror.publish("a", "b")
    registry.promote(mirror.connection, "b", "better")
    damaged = mirror.models / "a" / "popularity.npy"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    _, output = mirror.trainer("mirror", status=1)
    assert "a: a: popularity.npy has" in output
    assert set(mirror.runs()) == {"b"}
    assert mirror.champion() == "b"
    damaged.write_bytes(content)
    mirror.trainer("mirror")
    mirror.assert_agrees()


def test_a_pruned_version_is_removed_with_its_files(mirror: Mirror) -> None:
    mirror.publish("a", "b", "c", "d")
    for version in "abcd":
        registry.promote(mirror.connection, version, "next")
    mirror.trainer("mirror")
    assert mirror.trainer("prune", "--keep", "1")[0]["versions"] == ["a", "b"]
    assert set(mirror.runs()) == {"c", "d"}
    mirror.assert_agrees()


def test_a_version_with_an_erased_viewer_is_removed_and_its_copy_takes_its_place(
    mirror: Mirror, clickhouse_database: str
) -> None:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    client.close()
    mirror.publish("a", "b")
    registry.promote(mirror.connection, "a", "better")
    registry.reject(mirror.connection, "b", "worse")
    mirror.trainer("mirror")
    before = {run.info.run_id for run in mirror.runs().values()}
    erased.note(mirror.connection, GONE)
    mirror.server.freeze()
    try:
        answer, output = mirror.trainer("forget", CLICKHOUSE_URL=clickhouse_database)
    finally:
        mirror.server.thaw()
    assert "MLflow does not agree with the registry yet" in output, "what is erased here does not wait for MLflow"
    copy = answer["replaced"]["a"]
    mirror.trainer("forget", CLICKHOUSE_URL=clickhouse_database)
    assert set(mirror.runs()) == {copy}
    assert mirror.champion() == copy
    assert not [path for run in before for path in mirror.server.artifacts.glob(f"*/{run}/**/*.*")]
    mirror.assert_agrees()


@contextmanager
def stopped(mirror: Mirror) -> Iterator[str]:
    mirror.server.stop()
    try:
        yield mirror.server.url
    finally:
        mirror.server.start()


@contextmanager
def frozen(mirror: Mirror) -> Iterator[str]:
    mirror.server.freeze()
    try:
        yield mirror.server.url
    finally:
        mirror.server.thaw()


@contextmanager
def silent(_: Mirror) -> Iterator[str]:
    """Give the address of a server that takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("away", [stopped, frozen, silent])
def test_a_rollback_neither_fails_nor_hangs_while_mlflow_is_away(mirror: Mirror, away: Callable[..., Any]) -> None:
    mirror.publish("a", "b")
    for version in "ab":
        registry.promote(mirror.connection, version, "next")
    mirror.trainer("mirror")
    with away(mirror) as address:
        started = time.monotonic()
        answer, output = mirror.trainer("rollback", MLFLOW_TRACKING_URI=address)
        assert time.monotonic() - started < BOUND_SECONDS
        assert answer["version"] == "a"
        (warning,) = [line for line in output.splitlines() if "MLflow does not agree" in line]
        assert json.loads(warning)["level"] == "warning"
        assert "API request to http" in warning, "it says what failed"
        mirror.trainer("mirror", status=1, MLFLOW_TRACKING_URI=address)
    assert mirror.champion() == "b", "stale, as the warning said"
    mirror.trainer("prune")
    assert mirror.champion() == "a", "the next command, whichever it is, catches up"
    mirror.assert_agrees()


def test_a_whole_run_succeeds_while_mlflow_is_frozen_and_the_next_promotion_catches_up(
    mirror: Mirror,
    world: World,  # noqa: F811 - the fixture
) -> None:
    world.environment |= {name: value for name, value in mirror.environment.items() if name.startswith("MLFLOW")}
    world.importer("load", "--movielens", str(world.folder))
    with frozen(mirror):
        started = time.monotonic()
        first = world.trainer("run", "--run-id", "one")["version"]
        assert time.monotonic() - started < 3 * BOUND_SECONDS
    mirror.connection, mirror.models = world.connection, Path(world.environment["MODEL_DIR"])
    for step in ("check", "extract", "train", "evaluate"):
        world.trainer(step, "--run-id", "two")
    second = world.trainer("publish", "--run-id", "two")["version"]
    assert set(mirror.runs()) == {first, second}
    assert mirror.champion() == first
    world.trainer("promote", "--run-id", "two", "--force")
    assert mirror.champion() == second
    mirror.assert_agrees()
    run = mirror.runs()[second]
    assert run.data.params["models.als.parameters.factors"] == "8"
    assert run.data.metrics["als_ndcg"] == pytest.approx(
        next(row.metrics["als_ndcg"] for row in registry.versions(world.connection) if row.version == second)
    )


def test_without_an_address_the_command_says_so(mirror: Mirror) -> None:
    _, output = mirror.trainer("mirror", status=2, MLFLOW_TRACKING_URI="")
    assert output == "settings: MLFLOW_TRACKING_URI: not set, so there is nowhere to mirror to\n"

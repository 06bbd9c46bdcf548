"""The registry on a real PostgreSQL."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from pydantic import SecretStr

from services.common import postgres, registry
from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.registry import RegistryError, Stage
from services.contracts.tables import MODEL_PROMOTED_CHANNEL
from tests.support.bundles import make_bundle


@pytest.fixture
def connection(postgres_database: str) -> Iterator[Connection[Any]]:
    with postgres.connect(SecretStr(postgres_database)) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        yield connection


@pytest.fixture
def registered(connection: Connection[Any], tmp_path: Path) -> Connection[Any]:
    """Three candidates: a, b and c."""
    for version in "abc":
        register(connection, tmp_path, version)
    return connection


def register(connection: Connection[Any], folder: Path, version: str, run_id: str = "") -> None:
    manifest = make_bundle(folder, version).manifest
    registry.register(connection, manifest.model_copy(update={"run_id": run_id or f"run-{version}"}))


def stages(connection: Connection[Any]) -> dict[str, str]:
    return {row.version: row.stage.value for row in registry.versions(connection)}


def test_there_is_no_champion_before_the_first_promotion(registered: Connection[Any]) -> None:
    assert registry.champion(registered) is None
    assert set(stages(registered).values()) == {"candidate"}


def test_promotion_archives_the_champion_before(registered: Connection[Any]) -> None:
    registry.promote(registered, "a", "first")
    promoted = registry.promote(registered, "b", "better")
    assert (promoted.version, promoted.stage, promoted.reason) == ("b", Stage.CHAMPION, "better")
    assert registry.champion(registered) == promoted
    assert stages(registered) == {"a": "archived", "b": "champion", "c": "candidate"}


def test_promotion_notifies_listeners_once_it_is_committed(registered: Connection[Any], postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as listener:
        listener.execute(f"LISTEN {MODEL_PROMOTED_CHANNEL}")
        with registered.transaction():
            registered.execute("SELECT 1")
            registry.promote(registered, "a", "first")
            assert list(listener.notifies(timeout=0.3)) == []
        (notification,) = listener.notifies(timeout=10, stop_after=1)
        assert notification.payload == "a"
        registry.promote(registered, "b", "second")
        registry.rollback(registered, None, "worse")
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=2)] == ["b", "a"]


def test_promotions_at_once_leave_one_champion(registered: Connection[Any], postgres_database: str) -> None:
    for _ in range(10):
        barrier = threading.Barrier(3)
        errors: list[BaseException] = []

        def promote(version: str, barrier: threading.Barrier = barrier, errors: list[BaseException] = errors) -> None:
            try:
                with postgres.connect(SecretStr(postgres_database)) as own:
                    barrier.wait(10)
                    registry.promote(own, version, "race")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=promote, args=(version,)) for version in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert sorted(stages(registered).values()) == ["archived", "archived", "champion"]
    last = max(registry.versions(registered), key=lambda row: str(row.promoted_at))
    assert last.stage is Stage.CHAMPION


def test_promoting_the_champion_again_changes_nothing(registered: Connection[Any]) -> None:
    first = registry.promote(registered, "a", "first")
    assert registry.promote(registered, "a", "first") == first


def test_an_unknown_version_is_refused_and_the_champion_stays(registered: Connection[Any]) -> None:
    registry.promote(registered, "a", "first")
    with pytest.raises(RegistryError, match="nope: no such version"):
        registry.promote(registered, "nope", "typo")
    assert stages(registered)["a"] == "champion"


def test_rolling_back_twice_goes_back_two_steps(registered: Connection[Any]) -> None:
    for version in "abc":
        registry.promote(registered, version, "next")
    assert registry.rollback(registered, None, "bad").version == "b"
    assert registry.rollback(registered, None, "bad too").version == "a"
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback(registered, None, "further")
    assert stages(registered) == {"a": "champion", "b": "archived", "c": "archived"}


def test_rollback_to_a_version_needs_one_that_was_champion(registered: Connection[Any]) -> None:
    registry.promote(registered, "a", "first")
    registry.promote(registered, "b", "second")
    assert registry.rollback(registered, "a", "chosen").version == "a"
    for version, why in (("c", "candidate"), ("nope", "unknown")):
        with pytest.raises(RegistryError, match=f"{version}: not an earlier champion .{why}"):
            registry.rollback(registered, version, "chosen")


def test_a_candidate_can_be_rejected_and_a_champion_cannot(registered: Connection[Any]) -> None:
    registry.reject(registered, "c", "below popularity")
    assert [(row.stage, row.reason) for row in registry.versions(registered) if row.version == "c"] == [
        (Stage.REJECTED, "below popularity")
    ]
    registry.promote(registered, "a", "first")
    with pytest.raises(RegistryError, match="a: not a candidate"):
        registry.reject(registered, "a", "too late")


def test_registering_twice_is_once_and_a_run_has_one_version(connection: Connection[Any], tmp_path: Path) -> None:
    register(connection, tmp_path, "a", "run")
    register(connection, tmp_path, "a", "run")
    assert stages(connection) == {"a": "candidate"}
    with pytest.raises(RegistryError, match="b: run run already made a"):
        register(connection, tmp_path, "b", "run")
    found = registry.version_of_run(connection, "run")
    assert found is not None
    assert found.version == "a"
    assert registry.version_of_run(connection, "other") is None


def test_the_manifest_comes_back_as_it_was_registered(connection: Connection[Any], tmp_path: Path) -> None:
    manifest = make_bundle(tmp_path, "a").manifest.model_copy(update={"run_id": "run"})
    registry.register(connection, manifest)
    assert registry.manifest_of(connection, "a") == manifest.model_copy(update={"metrics": {}})
    with pytest.raises(RegistryError, match="no such version"):
        registry.manifest_of(connection, "b")

"""Old bundles are deleted, and what is not there can never be served."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from pydantic import SecretStr

from services.common import postgres, registry
from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.registry import RegistryError
from services.trainer.prune import prune
from tests.support.bundles import make_bundle


@pytest.fixture
def connection(postgres_database: str) -> Iterator[Connection[Any]]:
    with postgres.connect(SecretStr(postgres_database)) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        yield connection


def publish(connection: Connection[Any], folder: Path, version: str) -> None:
    manifest = make_bundle(folder, version).manifest
    registry.register(connection, manifest.model_copy(update={"run_id": f"run-{version}"}))


def bundles(folder: Path) -> str:
    return "".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))


def test_the_newest_replaced_and_refused_ones_stay_and_so_do_champion_and_candidates(
    connection: Connection[Any], tmp_path: Path
) -> None:
    for version in "abcdefghijk":
        publish(connection, tmp_path, version)
    for version in "abcdef":
        registry.promote(connection, version, "better")
    for version in "ghi":
        registry.reject(connection, version, "worse")
    make_bundle(tmp_path, "z")  # of no version that the registry knows
    now = datetime.now(timezone.utc)
    assert prune(tmp_path, connection, 2, now).versions == ["a", "b", "c", "g"]
    assert bundles(tmp_path) == "defhijkz"
    assert prune(tmp_path, connection, 2, now).versions == []

    with pytest.raises(RegistryError, match="c: its bundle was deleted"):
        registry.rollback(connection, "c", "")
    for version in "cg":
        with pytest.raises(RegistryError, match="or its bundle was deleted"):
            registry.promote(connection, version, "")
    assert registry.rollback(connection, None, "").version == "e"
    assert registry.rollback(connection, None, "").version == "d"
    with pytest.raises(RegistryError, match="no earlier champion"):
        registry.rollback(connection, None, "")


def test_the_version_that_a_rollback_goes_to_stays_however_many_were_rolled_back_since(
    connection: Connection[Any], tmp_path: Path
) -> None:
    for version in "abcd":
        publish(connection, tmp_path, version)
        registry.promote(connection, version, "better")
    registry.rollback(connection, "b", "")  # d is rolled back; a and c were replaced
    publish(connection, tmp_path, "e")
    registry.promote(connection, "e", "better")
    registry.rollback(connection, "d", "")  # e is rolled back
    registry.rollback(connection, "c", "")
    assert prune(tmp_path, connection, 1, datetime.now(timezone.utc)).versions
    earlier = registry.rollback(connection, None, "").version
    assert earlier in bundles(tmp_path)
    assert registry.champion(connection) is not None


def test_folders_that_a_crash_left_go_after_a_day_and_a_cut_off_deletion_is_finished(
    connection: Connection[Any], tmp_path: Path
) -> None:
    now = datetime.now(timezone.utc)
    for name, age in ((".old.x", timedelta(hours=25)), (".new.x", timedelta(hours=23))):
        (tmp_path / name).mkdir()
        stamp = (now - age).timestamp()
        os.utime(tmp_path / name, (stamp, stamp))
    for version in "abc":
        publish(connection, tmp_path, version)
        registry.promote(connection, version, "better")
    assert registry.prune(connection, 1) == ["a"], "the registry first; then a crash"
    pruned = prune(tmp_path, connection, 1, now)
    assert (pruned.versions, pruned.unfinished) == (["a"], [".old.x"])
    assert bundles(tmp_path) == "bc"
    assert (tmp_path / ".new.x").is_dir()

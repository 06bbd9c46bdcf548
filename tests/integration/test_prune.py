"""Old bundles are deleted, and what is not there can never be served."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection
from pydantic import SecretStr

from services.common import postgres, registry
from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.registry import RegistryError
from services.trainer.bundles.prune import prune
from services.trainer.run import Extracted, Published, Run
from services.trainer.run_folders import prune_runs
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


def a_run(folder: Path, run_id: str, hours_ago: float, now: datetime) -> Run:
    """A run that failed after its extract; one that was killed within it has no result at all."""
    run = Run(folder, run_id)
    run.extract.mkdir(parents=True)
    (run.extract / "user_id.npy").write_bytes(b"many")
    if not run_id.startswith("killed"):
        run.complete(Extracted(signals=1, topic_id=None, offsets={}, extracted_at=now))
    if run_id.startswith("refused"):
        run.discard_arrays()
        run.complete(Published(version="v"))
    stamp = (now - timedelta(hours=hours_ago)).timestamp()
    for path in (*run.folder.rglob("*"), run.folder):
        os.utime(path, (stamp, stamp))
    return run


def test_folders_of_runs_are_bounded_in_number_and_age_however_the_runs_ended(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    for hours, name in enumerate(["killed-2", "refused-3", "failed-4", "killed-5", "refused-6", "failed-7"], 2):
        a_run(tmp_path, name, hours, now)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a file").write_text("not ours")
    assert prune_runs(tmp_path, 4, now) == ["failed-7", "refused-6"]
    a_run(tmp_path, "failed-long-ago", 15 * 24, now)
    assert prune_runs(tmp_path, 10, now) == ["failed-long-ago"]
    left = {"killed-2", "refused-3", "failed-4", "killed-5", "lost+found", "a file", ".lock"}
    assert {path.name for path in tmp_path.iterdir()} == left
    assert prune_runs(tmp_path / "not there yet", 1, now) == []


def test_a_run_that_goes_on_or_has_just_ended_stays_however_many_are_newer(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    going, pausing = a_run(tmp_path, "killed-going", 30 * 24, now), a_run(tmp_path, "failed-pausing", 0.9, now)
    for hours in (0.1, 0.2):
        a_run(tmp_path, f"failed-{hours}", hours, now)
    lock = going.folder / ".lock"
    with going.in_use():
        os.utime(lock, (0, 0))
        os.utime(going.folder, (0, 0))
        assert prune_runs(tmp_path, 1, now) == []
        assert going.extract.exists()
    assert pausing.extract.exists()
    # Its last step has just ended, so it is now the newest.
    assert prune_runs(tmp_path, 1, now + timedelta(hours=2)) == ["failed-0.1", "failed-0.2", "failed-pausing"]


def test_a_run_that_begins_while_its_old_folder_is_deleted_gets_a_new_one(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    run = a_run(tmp_path, "failed-1", 5, now)
    a_run(tmp_path, "failed-2", 0.5, now)
    assert prune_runs(tmp_path, 1, now) == ["failed-1"]
    with run.in_use():
        assert list(run.folder.iterdir()) == [run.folder / ".lock"]
        assert run.result(Extracted) is None


def test_two_may_prune_at_once(connection: Connection[Any], tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    for version in "abc":
        publish(connection, tmp_path, version)
        registry.promote(connection, version, "better")
    runs = tmp_path / "runs"
    for number in range(20):
        a_run(runs, f"failed-{number}", 2 + number, now)
    with ThreadPoolExecutor(4) as pool:
        deleted = list(pool.map(lambda _: prune_runs(runs, 2, now), range(4)))
    assert {path.name for path in runs.iterdir()} == {"failed-0", "failed-1", ".lock"}
    assert set().union(*deleted) == {f"failed-{number}" for number in range(2, 20)}

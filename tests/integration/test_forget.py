"""What the night forgets of erased viewers: bundles, whatever they are to the registry, and folders of runs."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from psycopg import Connection
from psycopg.types.json import Jsonb
from pydantic import SecretStr

from services.common import erased, postgres, registry
from services.common.bundle import open_bundle
from services.common.erased import Where
from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.registry import RegistryError, Stage
from services.contracts.ids import UserId
from services.importer.forget import ForgetError as FilesForgetError
from services.importer.forget import forget as forget_in_landed_files
from services.inference.models.served import load_served
from services.trainer.bundles.forget import ForgetError, Forgotten, forget
from services.trainer.data.signals import Signals
from services.trainer.run import Extracted, Run
from tests.support.bundles import make_bundle

NOW = datetime.now(timezone.utc)
LATER = NOW + timedelta(hours=2)
LIKES = {7: [1, 2, 3], 8: [4, 5], 9: [2]}
GONE, STAYS = UserId(7), UserId(8)


@pytest.fixture
def connection(postgres_database: str) -> Iterator[Connection[Any]]:
    with postgres.connect(SecretStr(postgres_database), autocommit=True) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        yield connection


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


Night = Callable[..., Forgotten]


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    (tmp_path / "landing" / "processed").mkdir(parents=True)
    return tmp_path / "landing"


@pytest.fixture
def night(connection: Connection[Any], models: Path, runs: Path, landing: Path) -> Night:
    def run(now: datetime = LATER, in_clickhouse: Callable[[Any], object] = lambda _: None) -> Forgotten:
        forget_in_landed_files(landing, connection)
        return forget(models, runs, connection, in_clickhouse=in_clickhouse, now=now)

    return run


def publish(connection: Connection[Any], models: Path, version: str, **options: Any) -> None:
    bundle = make_bundle(models, version, likes=LIKES, **options)
    registry.register(connection, bundle.manifest)


def holders(models: Path, viewer: int) -> list[str]:
    """Return the folders in which the viewer is, as an attacker with the disk would find them."""
    found = []
    for path in models.iterdir():
        manifest = (path / "manifest.json").read_text() if (path / "manifest.json").exists() else ""
        if viewer in np.load(path / "user_ids.npy") or f'"user_id": {viewer},' in manifest:
            found.append(path.name)
    return sorted(found)


def stages(connection: Connection[Any]) -> dict[str, str]:
    return {v.version: v.stage.value for v in registry.versions(connection) if v.pruned_at is None}


def test_the_champion_loses_the_viewer_and_goes_on_under_a_new_name_although_no_model_replaces_it(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    publish(connection, models, "v1")
    before = registry.promote(connection, "v1", "better")
    connection.execute("LISTEN model_promoted")
    erased.note(connection, GONE)
    assert holders(models, GONE) == ["v1"]
    assert erased.pending(connection).viewers == 1

    done = night()

    champion = registry.champion(connection)
    assert champion is not None
    assert done.replaced == {"v1": champion.version}
    assert [path.name for path in models.iterdir()] == [champion.version]
    assert holders(models, GONE) == []
    assert [n.payload for n in connection.notifies(timeout=1, stop_after=1)] == [champion.version]
    assert (champion.run_id, champion.reason, champion.promoted_at) == (
        before.run_id, before.reason, before.promoted_at,
    )  # fmt: skip
    assert registry.manifest_of(connection, champion.version).parameters["origin"] == "v1"
    assert erased.pending(connection).viewers == 0
    assert night().replaced == {}, "once is enough"

    model = load_served(open_bundle(models / champion.version), "champion", NOW)
    assert model.user_index(GONE) is None
    assert model.trained_history(UserId(8)).item_ids.tolist() == [4, 5]
    # Popularity counts the viewers who are left; nobody else liked films 1 and 3, whose factors were of this viewer.
    popularity = model.bundle.arrays["popularity"]
    assert {int(item): int(popularity[item - 1]) for item in range(1, 6)} == {1: 0, 2: 1, 3: 0, 4: 1, 5: 1}
    factors = model.bundle.models["als"]["item_factors"]
    assert not factors[[0, 2]].any()
    assert factors[[1, 3, 4]].any(axis=1).all()
    manifest = model.manifest
    assert (manifest.rows["users"], manifest.rows["history"], manifest.rows["positives"]) == (2, 3, 3)


def test_a_rollback_goes_where_it_went_before_and_refused_models_are_given_up(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    for version in "abcd":
        publish(connection, models, version)
    for version in "abc":
        registry.promote(connection, version, "better")
    registry.reject(connection, "d", "worse")
    publish(connection, models, "e")  # a candidate: its run is about to promote it
    connection.execute(  # as format 1 had it
        "UPDATE model_versions SET manifest = manifest || jsonb_build_object("
        "'canaries', manifest #> '{models,als,canaries}') WHERE version = 'd'"
    )
    erased.note(connection, GONE)
    assert manifests_naming(connection, GONE) == 5

    done = night()

    assert holders(models, GONE) == []
    assert set(done.replaced) == {"a", "b", "c", "e"}
    assert done.deleted == ["d"]
    copy = done.replaced
    assert stages(connection) == {
        copy["a"]: "archived", copy["b"]: "archived", copy["c"]: "champion", copy["e"]: "candidate",
    }  # fmt: skip
    assert sorted(path.name for path in models.iterdir()) == sorted(copy.values())
    with pytest.raises(RegistryError, match="its bundle was deleted"):
        registry.promote(connection, "d", "forced")
    assert registry.rollback(connection, None, "").version == copy["b"]
    assert registry.rollback(connection, None, "").version == copy["a"]
    assert registry.rollback(connection, "c", "the old name still means that model").version == copy["c"]
    assert registry.version_of_run(connection, "run-e") is not None
    assert manifests_naming(connection, GONE) == 0
    assert manifests_naming(connection, STAYS) > 0, "the other viewers' canaries stay"


def manifests_naming(connection: Connection[Any], viewer: int) -> int:
    """How many manifests in the registry name the viewer, anywhere."""
    sql = "SELECT count(*) FROM model_versions WHERE jsonb_path_exists(manifest, '$.**.user_id ? (@ == $viewer)', %s)"
    (count,) = connection.execute(sql, (Jsonb({"viewer": viewer}),)).fetchone() or (0,)
    return int(count)


def test_a_second_viewer_and_the_last_one_leave_bundles_that_can_be_served(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    publish(connection, models, "v1")
    registry.promote(connection, "v1", "better")
    for viewer in sorted(LIKES):
        erased.note(connection, UserId(viewer))
        night()
        champion = registry.champion(connection)
        assert champion is not None
        assert champion.version.count(".") == 1, "names do not grow"
        assert holders(models, viewer) == []
        assert load_served(open_bundle(models / champion.version), "champion", NOW).user_index(UserId(viewer)) is None
    assert len(list(models.iterdir())) == 1


def test_one_damaged_bundle_keeps_no_other_from_being_forgotten(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    for version in "abc":
        publish(connection, models, version)
        registry.promote(connection, version, "better")
    (models / "a" / "user_ids.npy").write_bytes(b"torn")
    (models / "c" / "models/als/item_factors.npy").write_bytes(b"torn")
    (models / "lost+found").mkdir()
    (models / "note.txt").write_text("not ours")
    erased.note(connection, GONE)
    erased.note(connection, UserId(1000))  # in no bundle: nothing is left of them

    with pytest.raises(ForgetError, match=r"c: .*item_factors\.npy"):
        night()

    assert sorted(path.name for path in models.iterdir() if path.is_dir())[0].startswith("b.")
    assert not (models / "a").exists(), "cannot be read, so may hold them; nobody serves it"
    assert (models / "lost+found").is_dir()
    assert erased.erased_viewers(connection, pending_in=Where.MODELS) == {GONE}
    assert registry.champion(connection).version == "c"  # type: ignore[union-attr]


def test_a_bundle_that_no_run_registered_goes_once_nobody_writes_in_it(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    make_bundle(models, "unknown", likes=LIKES)
    shutil.copytree(make_bundle(models, "crashed", likes=LIKES).path, models / ".crashed.x1y2")
    shutil.rmtree(models / "crashed")
    make_bundle(models, "of others", likes={8: [1]})
    erased.note(connection, GONE)
    assert night(NOW).deleted == []
    assert erased.pending(connection).viewers == 1
    assert night(LATER).deleted == [".crashed.x1y2", "unknown"]
    assert [path.name for path in models.iterdir()] == ["of others"]
    assert erased.pending(connection).viewers == 0


def test_clickhouse_that_is_away_keeps_the_erasure_pending_and_bundles_are_forgotten_all_the_same(
    connection: Connection[Any], models: Path, night: Night
) -> None:
    publish(connection, models, "v1")
    registry.promote(connection, "v1", "better")
    erased.note(connection, GONE)

    def away(_: object) -> None:
        raise OSError("ClickHouse does not answer")

    with pytest.raises(ForgetError, match="ClickHouse does not answer"):
        night(in_clickhouse=away)
    assert holders(models, GONE) == []
    assert erased.pending(connection).viewers == 1
    asked: list[Any] = []
    night(in_clickhouse=asked.append)
    assert asked == [{GONE}]
    assert erased.pending(connection).viewers == 0


def extracted(runs: Path, run_id: str, viewers: list[int], *, complete: bool = True) -> Run:
    run, n = Run(runs, run_id), len(viewers)
    Signals(
        np.array(viewers, np.int64), np.arange(1, n + 1), np.zeros(n, np.uint8), np.ones(n, np.float32),
        np.ones(n, np.uint64), np.ones(n, np.uint64),
    ).save(run.extract)  # fmt: skip
    if complete:
        run.complete(Extracted(signals=n, topic_id=None, offsets={}, extracted_at=NOW))
    return run


def test_folders_of_runs_that_hold_the_viewer_go_and_one_that_goes_on_is_not_touched(
    connection: Connection[Any], runs: Path, night: Night
) -> None:
    killed = extracted(runs, "killed", [7, 8], complete=False)
    failed = extracted(runs, "failed", [7, 8])
    other = extracted(runs, "other", [8, 9])
    going = extracted(runs, "going", [7])
    starting = Run(runs, "starting")
    erased.note(connection, GONE)

    assert night(NOW).deleted == [], "their next steps may be about to begin"
    with going.in_use(), starting.in_use():
        done = night(LATER)
        assert sorted(done.deleted) == ["failed", "killed"]
        assert sorted(done.waiting) == ["going", "starting"]
        assert (going.extract / "user_id.npy").exists()
        assert not failed.folder.exists()
        assert not killed.folder.exists()
        assert other.extract.exists()
        assert erased.pending(connection).viewers == 1
    assert night(NOW).deleted == [], "a step has just ended"
    for path in (*going.folder.rglob("*"), going.folder):
        os.utime(path, (0, 0))
    assert night(NOW).deleted == ["going"]
    assert erased.pending(connection).viewers == 0


def test_a_viewer_who_is_found_again_is_pending_again(connection: Connection[Any], models: Path, night: Night) -> None:
    erased.note(connection, GONE)
    night()
    assert erased.pending(connection).viewers == 0
    make_bundle(models, "restored from a backup", likes=LIKES)
    night(NOW)
    assert erased.pending(connection).viewers == 1
    assert erased.note(connection, GONE) == erased.erasure_of(connection, GONE).erased_at  # type: ignore[union-attr]


def test_replacing_and_rolling_back_at_once_leave_one_champion_that_has_a_bundle(
    connection: Connection[Any], models: Path, night: Night, postgres_database: str
) -> None:
    for version in "ab":
        publish(connection, models, version)
        registry.promote(connection, version, "better")
    erased.note(connection, GONE)
    replaced = registry.replace

    def rolled_back_first(*arguments: Any) -> Any:
        """The operator's rollback comes between the copy of "b" and its registration."""
        if arguments[1] == "b":
            with postgres.connect(SecretStr(postgres_database), autocommit=True) as operator:
                registry.rollback(operator, None, "by hand")
        return replaced(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "replace", rolled_back_first)
        done = night()
    champion = registry.champion(connection)
    assert champion is not None
    assert champion.version == done.replaced["a"]
    assert (models / champion.version).is_dir()
    assert registry.version_named(connection, done.replaced["b"]).stage is Stage.ARCHIVED  # type: ignore[union-attr]
    assert holders(models, GONE) == []


def test_landed_files_lose_the_viewer_and_one_that_cannot_be_rewritten_keeps_the_erasure_pending(
    connection: Connection[Any], landing: Path, night: Night
) -> None:
    file, unfinished = landing / "processed" / "a.csv", landing / "b.csv.part"
    for path in (file, unfinished):
        path.write_text("user_id,item_id,rating,timestamp\n7,1,4,978300760\n8,1,4,978300760\n")
    erased.note(connection, UserId(7))
    with pytest.raises(FilesForgetError, match=r"b\.csv\.part: it is still being written"):
        night()
    assert "7,1," not in file.read_text()
    unfinished.unlink()
    forget_in_landed_files(landing, connection)
    assert erased.pending(connection).viewers == 1, "bundles may still hold the viewer"
    assert night().left == set()
    assert erased.pending(connection).viewers == 0


@pytest.mark.parametrize("files_first", [True, False])
def test_an_erasure_is_pending_until_the_importer_and_the_trainer_have_both_forgotten(
    connection: Connection[Any], models: Path, runs: Path, landing: Path, files_first: bool
) -> None:
    erased.note(connection, GONE)
    parts: list[Callable[[], object]] = [
        partial(forget_in_landed_files, landing, connection),
        partial(forget, models, runs, connection, in_clickhouse=lambda _: None, now=LATER),
    ]
    for part in parts if files_first else reversed(parts):
        assert erased.pending(connection).viewers == 1
        assert erased.erasure_of(connection, GONE).forgotten_at is None  # type: ignore[union-attr]
        part()
    assert erased.pending(connection) == erased.Pending(0, None)
    assert erased.erasure_of(connection, GONE).forgotten_at is not None  # type: ignore[union-attr]
    (landing / "restored.csv.part").write_text("user_id,item_id,rating,timestamp\n7,1,4,978300760\n")
    with pytest.raises(FilesForgetError):
        forget_in_landed_files(landing, connection)
    assert erased.pending(connection).viewers == 1, "found again"


def test_a_landing_folder_that_cannot_be_read_keeps_every_erasure_pending(
    connection: Connection[Any], landing: Path, monkeypatch: pytest.MonkeyPatch, night: Night
) -> None:
    erased.note(connection, GONE)
    night()

    def unreadable(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(landing))

    monkeypatch.setattr("services.importer.forget.forget_in_files", unreadable)
    with pytest.raises(FilesForgetError, match="Permission denied"):
        forget_in_landed_files(landing, connection)
    assert erased.pending(connection).viewers == 1

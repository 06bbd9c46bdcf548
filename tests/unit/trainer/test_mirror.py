"""What of a bundle goes to MLflow, what the mirror changes there, and that no outcome depends on it."""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from services.common.bundle import open_bundle
from services.common.step_command import Answer
from services.trainer.mirror import after
from services.trainer.mirror import contents as mirrored
from services.trainer.mirror.after import then_mirror
from services.trainer.mirror.contents import contents
from services.trainer.mirror.plan import FoundModel, FoundRun, plan
from tests.support.bundles import make_bundle


def names(files: list[tuple[Path, str | None]]) -> set[str]:
    return {f"{folder}/{path.name}" if folder else path.name for path, folder in files}


def test_what_belongs_to_a_viewer_is_not_uploaded(tmp_path: Path) -> None:
    # As many viewers as films: the shape of an array does not tell what its rows are.
    bundle = make_bundle(tmp_path, items=2, likes={7: [1], 8: [2]})
    assert bundle.models["als"]["user_factors"].shape == bundle.models["als"]["item_factors"].shape
    made = contents(bundle)
    assert names(made.files) == {
        "item_ids.npy", "item_genres.npy", "popularity.npy", "popularity_recent.npy", "models/als/item_factors.npy",
    }  # fmt: skip
    assert all(path.is_file() for path, _ in made.files)
    assert bundle.manifest.models["als"].canaries
    assert all(model["canaries"] == [] for model in json.loads(made.manifest)["models"].values())


def test_an_array_of_a_kind_that_is_not_known_is_withheld(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    manifest = bundle.manifest
    entry = manifest.models["als"].model_copy(update={"kind": "later"})
    later = SimpleNamespace(
        manifest=manifest.model_copy(update={"models": {"als": entry}}), arrays=bundle.arrays, models=bundle.models
    )
    assert mirrored.arrays_about_films(later, "als") == []  # type: ignore[arg-type]


def test_a_model_without_viewers_still_has_its_films(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, likes={})
    assert "item_factors" in mirrored.arrays_about_films(bundle, "als")
    assert not bundle.models["als"]["user_factors"].size


def test_an_array_with_gaps_counts_as_unchanged(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    factors = np.array(bundle.models["als"]["item_factors"])
    factors[0] = np.nan
    arrays = {**bundle.models["als"], "item_factors": factors}
    gaps = SimpleNamespace(manifest=bundle.manifest, arrays=bundle.arrays, models={"als": arrays})
    assert mirrored.arrays_about_films(gaps, "als") == ["item_factors"]  # type: ignore[arg-type]


def test_the_files_of_a_bundle_of_format_1_are_found_where_it_has_them(tmp_path: Path) -> None:
    path = make_bundle(tmp_path).path
    manifest = json.loads((path / "manifest.json").read_text())
    for name in ("item_factors", "user_factors"):
        (path / f"models/als/{name}.npy").rename(path / f"{name}.npy")
        manifest["files"][f"{name}.npy"] = manifest["files"].pop(f"models/als/{name}.npy")
    canaries = manifest.pop("models")["als"]["canaries"]
    del manifest["default_model"]
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": 1, "canaries": canaries}))
    made = contents(open_bundle(path))
    assert (path / "item_factors.npy", "models/als") in made.files
    assert all(file.is_file() for file, _ in made.files)
    assert "user_factors.npy" not in {file.name for file, _ in made.files}
    assert '"user_id"' not in made.manifest


def test_the_report_is_uploaded_if_the_bundle_has_one(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    (bundle.path / "report.html").write_text("<h1>Report</h1>")
    assert "report.html" in names(contents(bundle).files)
    assert "report.md" not in names(contents(bundle).files)


def test_parameters_metrics_and_tags_say_what_the_run_was(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "v1", topic_id="topic")
    recipe = {"recent_days": 7, "models": {"als": {"kind": "als", "parameters": {"factors": 8}}}}
    manifest = bundle.manifest.model_copy(update={"parameters": {"recipe": recipe, "recent_days": 7}})
    made = contents(SimpleNamespace(**{**vars(bundle), "manifest": manifest}))  # type: ignore[arg-type]
    assert made.tags == {"bundle_version": "v1", "run_id": "run-v1", "code_revision": "test", "topic_id": "topic"}
    assert made.parameters == {"recent_days": "7", "models.als.kind": "als", "models.als.parameters.factors": "8"}
    assert made.metrics == {"ndcg_10": 0.2}


def run(id_: str, version: str, *, complete: bool = True, deleted: bool = False) -> FoundRun:
    return FoundRun(id_, version, f"mlflow-artifacts:/{id_}", is_deleted=deleted, is_complete=complete)


def model(number: str, version: str, run_id: str | None) -> FoundModel:
    return FoundModel(number, version, run_id, {})


def test_one_run_and_one_model_of_each_version_stay() -> None:
    runs = [run("1", "a", complete=False), run("2", "a"), run("3", "a"), run("4", "gone"), run("5", "b")]
    models = [model("1", "a", "3"), model("2", "a", "2"), model("3", "a", "2"), model("4", "gone", "4")]
    found = plan({"a", "b", "c"}, runs, models)
    assert {version: kept.id for version, kept in found.runs.items()} == {"a": "2", "b": "5"}
    assert {version: kept.number for version, kept in found.models.items()} == {"a": "2"}
    assert [doomed.id for doomed in found.superfluous_runs] == ["1", "3", "4"]
    assert [doomed.number for doomed in found.superfluous_models] == ["1", "3", "4"]


def test_a_run_that_was_deleted_by_hand_is_removed_and_made_again() -> None:
    found = plan({"a"}, [run("1", "a", complete=False, deleted=True)], [model("1", "a", "1")])
    assert (found.runs, found.models) == ({}, {})
    assert [doomed.id for doomed in found.superfluous_runs] == ["1"]


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")


def replace_the_command(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(after, "_ARGV", [sys.executable, "-c", script])


def answer(_: argparse.Namespace) -> Answer:
    return {"version": "a"}


@pytest.mark.usefixtures("address")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; print('no settings', file=sys.stderr); sys.exit(2)", "no settings"),
        ('import sys; print(\'{"event": "failed", "exception": "Trace\\\\nE: away"}\'); sys.exit(1)', "E: away"),
        ("import sys; print('[1]'); sys.exit(1)", "without a word"),
        ("import os; os.kill(os.getpid(), 9)", "without a word"),
    ],
)
def test_a_mirror_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, script: str, reason: str
) -> None:
    replace_the_command(monkeypatch, script)
    assert then_mirror(answer)(argparse.Namespace()) == {"version": "a"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()


@pytest.mark.usefixtures("address")
def test_a_mirror_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    replace_the_command(monkeypatch, "import time; time.sleep(600)")
    started = time.monotonic()
    after.bring_up_to_date(limit_seconds=0.5)
    assert time.monotonic() - started < 10
    assert "longer than 0.5 s" in caplog.text


@pytest.mark.usefixtures("address")
def test_a_command_that_fails_is_followed_by_the_mirror_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replace_the_command(monkeypatch, f"open({str(tmp_path / 'called')!r}, 'w')")

    def refused(_: argparse.Namespace) -> Answer:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        then_mirror(refused)(argparse.Namespace())
    assert (tmp_path / "called").exists()


def test_without_an_address_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    replace_the_command(monkeypatch, f"open({str(tmp_path / 'called')!r}, 'w')")
    assert then_mirror(answer)(argparse.Namespace()) == {"version": "a"}
    assert not (tmp_path / "called").exists()
    assert caplog.records == []


@pytest.mark.parametrize("address", ["sqlite:///mlflow.db", "/srv/mlruns", "databricks", "http://me:secret@host:5000"])
def test_an_address_that_cannot_be_used_is_a_warning_that_does_not_repeat_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert then_mirror(answer)(argparse.Namespace()) == {"version": "a"}
    assert "MLFLOW_TRACKING_URI" in caplog.text
    assert address not in caplog.text

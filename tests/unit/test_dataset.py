from pathlib import Path

import pooch
import pytest

from infra.local.dataset import DatasetSettings, fetch


def test_a_fetch_that_was_cut_off_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def retrieve(*_: object, path: Path, **__: object) -> None:
        (path / "ml-10M100K").mkdir()
        (path / "ml-10M100K" / "ratings.dat").write_text("all of it")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    (tmp_path / "ml-10m").mkdir()
    (tmp_path / "ml-10m" / "ratings.dat").write_text("half of i")
    found = fetch(DatasetSettings(dataset="ml-10m"), tmp_path)
    assert (found / "ratings.dat").read_text() == "all of it"

"""The committed JSON is what the code makes, and what Grafana's types hold."""

import json
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import generate
from tests.unit.grafana.committed import DASHBOARDS, NAMES


def test_the_committed_dashboards_are_what_make_dashboards_writes() -> None:
    committed = {path.name: path.read_text() for path in generate.FOLDER.iterdir()}
    assert committed == generate.documents()


def test_a_dashboard_that_no_module_makes_any_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    (tmp_path / "gone.json").write_text("{}")
    generate.main()
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_grafanas_types_hold_all_of_a_dashboard(name: str) -> None:
    register_default_plugins()
    read = Dashboard.from_json(DASHBOARDS[name])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == DASHBOARDS[name]

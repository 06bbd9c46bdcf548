"""What Airflow sees of the DAG: it loads, when it runs, in which order, and that it is documented."""

import ast
import itertools
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
ORDER = [
    "import_files", "forget_files", "forget", "prune",
    "check_data", "extract", "train", "evaluate", "publish", "promote", "verify",
]  # fmt: skip


@pytest.fixture
def dag(described: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = described["dags"]["retrain_nightly"]
    return found


def test_the_folder_loads_without_errors_and_holds_one_dag(described: dict[str, Any]) -> None:
    assert described["import_errors"] == {}
    assert list(described["dags"]) == ["retrain_nightly"]


def test_it_runs_each_night_at_three_utc_one_run_at_a_time_and_never_catches_up(dag: dict[str, Any]) -> None:
    assert (dag["schedule"], dag["timezone"]) == ("0 3 * * *", "UTC")
    assert dag["catchup"] is False
    assert dag["max_active_runs"] == 1


def test_a_new_deployment_waits_for_the_night(dag: dict[str, Any]) -> None:
    assert dag["first_run_after_a_deployment_at"] == {
        "2026-11-21T04:24:00+00:00": "2026-11-22T03:00:00+00:00",
        "2026-11-21T12:00:00+00:00": "2026-11-22T03:00:00+00:00",
    }


def test_the_steps_follow_one_another(dag: dict[str, Any]) -> None:
    for before, after in itertools.pairwise(ORDER):
        assert after in dag["tasks"][before]["downstream"]
    assert set(dag["tasks"]) == set(ORDER)


def test_every_step_retries_with_backoff_and_has_a_timeout_an_owner_and_docs(dag: dict[str, Any]) -> None:
    for name, step in dag["tasks"].items():
        assert step["retries"] >= 1, name
        assert step["backoff"] > 1, name
        assert step["timeout"], name
        assert step["timeout"] < dag["dagrun_timeout"], name
        assert step["owner"] == "movierecs", name
        assert step["doc"], name
    assert all(name in dag["doc"] for name in ORDER)
    assert dag["tags"]


def test_the_folder_imports_nothing_of_the_services() -> None:
    for path in DAGS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in {"services", "ui", "infra"} for name in names), path

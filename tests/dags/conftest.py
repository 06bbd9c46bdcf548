"""Airflow lives in its own environment, so these tests talk to it through processes."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
DAGS = PROJECT / "dags"
HERE = Path(__file__).parent

RunPython = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def airflow_python() -> Path:
    """Airflow's interpreter: ``AIRFLOW_PYTHON``, else the project's own environment for it."""
    python = Path(os.environ.get("AIRFLOW_PYTHON", PROJECT / ".venv-airflow" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no Airflow at {python}: run `make venv`, or set AIRFLOW_PYTHON")
    return python


@pytest.fixture(scope="session")
def run_in_airflow(airflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPython:
    """Run a script of this folder with Airflow's interpreter and a fresh, migrated Airflow home."""
    environment = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    }
    migrate = [str(airflow_python), "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=environment, check=True, capture_output=True, timeout=180)

    def run(script: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        argv = [str(airflow_python), str(HERE / script), str(DAGS), *arguments]
        return subprocess.run(
            argv, env=environment | (env or {}), capture_output=True, text=True, timeout=180, check=False
        )

    return run


@pytest.fixture(scope="session")
def described(run_in_airflow: RunPython) -> dict[str, Any]:
    """What Airflow makes of the DAG folder; see ``describe_dag.py``."""
    done = run_in_airflow("describe_dag.py")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer

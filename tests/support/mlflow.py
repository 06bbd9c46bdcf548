"""A real MLflow server, which keeps its data and its address over stops, freezes and restarts."""

import os
from pathlib import Path

import pytest

from infra.local.readiness import http_body
from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess
from tests.support.services import Server

MLFLOW_VENV = ROOT / os.environ.get("MLFLOW_VENV", ".venv-mlflow")
"""A virtual environment of the server's own: it needs far more than the client, which is all that the trainer has."""


def require_mlflow_server() -> Path:
    """Return the server's program, for a test that cannot do without; otherwise skip the test."""
    program = MLFLOW_VENV / "bin" / "mlflow"
    if not program.exists():
        pytest.skip(
            "there is no MLflow server; get it with: python3.11 -m venv .venv-mlflow && "
            ".venv-mlflow/bin/python -m pip install mlflow (MLFLOW_VENV names another folder)"
        )
    return program


class MlflowServer(Server):
    """`mlflow server` on SQLite, which also keeps the files of the runs."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.artifacts = folder / "artifacts"
        self.process = ServiceProcess(
            "mlflow",
            [
                str(require_mlflow_server()), "server", "--host", "127.0.0.1", "--port", str(self.port),
                "--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
                "--artifacts-destination", str(self.artifacts),
            ],
            folder / "mlflow.log",
            env={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip

    def answers(self) -> bool:
        return http_body(f"{self.url}/health").startswith("OK")

    def files(self) -> set[str]:
        """Return the names of all files of runs, as they are on its disk, without the folders of the runs."""
        return {
            str(path.relative_to(self.artifacts)).partition("/artifacts/")[2]
            for path in self.artifacts.rglob("*")
            if path.is_file()
        }

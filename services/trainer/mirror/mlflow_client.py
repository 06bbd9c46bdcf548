"""The connection to MLflow, which is imported when it is used: only the trainer's environment has it."""

import os
from typing import Any

BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""Seconds without an answer, then one more attempt. MLflow's own defaults wait for a quarter of an hour."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow otherwise reports its use to its makers, and prints links between our log lines."""
Client = Any
"""MLflow's `MlflowClient`; it is not typed here, as most environments do not have it."""


def connect(tracking_uri: str) -> Client:
    """Return a client; the server is not asked for anything yet.

    What the environment says of `BOUNDS` wins, as do MLflow's own variables for user, password and certificates.

    Raises:
        ModuleNotFoundError: this environment has no MLflow.
    """
    for name, value in (BOUNDS | QUIET).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)

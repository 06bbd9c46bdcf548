"""The environment in which the stack's programs run: how every service learns its addresses."""

import os
import sys
from collections.abc import Mapping

from dotenv import dotenv_values

from infra.local.secret_values import secret_names
from infra.local.settings import StackSettings
from services.common.postgres_roles import ROLES

STACK_MARK = "MOVIERECS_STACK"
"""Set in every process of a stack to its state folder, so that `down` finds those that lost their supervisor."""


def service_environment(settings: StackSettings) -> dict[str, str]:
    """What a person's commands need: all that the programs share, and the secrets with which all may be done."""
    return shared_environment(settings, os.environ) | {
        "CLICKHOUSE_URL": settings.clickhouse,
        "POSTGRES_DSN": settings.postgres,
        "POSTGRES_PASSWORD": settings.postgres_password.get_secret_value(),
        # Compose's: in the stack's own PostgreSQL the migrations leave the roles' passwords as they are.
        **{f"{role.upper()}_POSTGRES_PASSWORD": "" for role in ROLES},
        "ADMIN_API_KEY": settings.admin_api_key.get_secret_value(),
        "AIRFLOW_ADMIN_USER": "admin",
        "AIRFLOW_ADMIN_PASSWORD": settings.airflow_admin_password.get_secret_value(),
    }


def shared_environment(settings: StackSettings, shell: Mapping[str, str]) -> dict[str, str]:
    """What every program is told, beside everything in `.env` that `shell` does not say; no secrets."""
    file = dotenv_values(settings.root / ".env")
    from_file = {name: value for name, value in file.items() if value and name not in shell}
    inference = f"http://127.0.0.1:{settings.inference_port}"
    airflow = f"http://127.0.0.1:{settings.airflow_port}"
    return _without_secrets(from_file) | {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka,
        "MODEL_DIR": str(settings.state / "models"),
        "RUNS_DIR": str(settings.state / "runs"),
        "LANDING_DIR": str(settings.state / "landing"),
        "INFERENCE_PORT": str(settings.inference_port),
        "INFERENCE_URL": inference,
        "CONSUMER_METRICS_PORT": str(settings.consumer_metrics_port),
        "EXPORTER_PORT": str(settings.exporter_port),
        "PROBE_PORT": str(settings.probe_port),
        "UI_METRICS_PORT": str(settings.ui_metrics_port),
        "UI_URL": f"http://127.0.0.1:{settings.ui_port}",
        "AIRFLOW_URL": airflow,
        # The DAG runs in Airflow's environment and starts the importer and the trainer in ours.
        "IMPORTER_COMMAND": f"{sys.executable} -m services.importer",
        "TRAINER_COMMAND": f"{sys.executable} -m services.trainer",
        "PYTHONPATH": str(settings.root),
        "PYTHONUNBUFFERED": "1",
        # More BLAS threads than cores make implicit and scoring many times slower, not faster.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def airflow_environment(settings: StackSettings, path: str, *, statsd: bool) -> dict[str, str]:
    """What `airflow standalone` needs beside that; no secrets. `path` is the PATH to put Airflow's programs before;
    `statsd` says whether there is an exporter to send metrics to."""
    url = f"http://127.0.0.1:{settings.airflow_port}"
    return {
        # standalone starts its parts as plain `airflow …`.
        "PATH": f"{settings.airflow_bin}{os.pathsep}{path}",
        # Beside the project's root the folder of `airflow_local_settings`, which Airflow imports by that name.
        "PYTHONPATH": os.pathsep.join([str(settings.root), str(settings.root / "infra" / "airflow")]),
        "AIRFLOW_HOME": str(settings.state / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.root / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        # Any other value than the default admin:admin keeps standalone from inventing a password.
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:ADMIN",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.state / "airflow" / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": url,
        # A changed DAG file shows within seconds; the default is minutes.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "NO_COLOR": "1",
        **(_airflow_metrics(settings) if statsd else {}),
    }


def _airflow_metrics(settings: StackSettings) -> dict[str, str]:
    return {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(settings.statsd_port),
        "AIRFLOW__METRICS__STATSD_PREFIX": "airflow",
        # Ids as tags, which the exporter turns into labels, and not once more inside the names.
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
    }


def process_environment(settings: StackSettings, inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the supervisor and so, without their secrets, of its programs."""
    shared = shared_environment(settings, inherited)
    return {**_without_secrets(inherited), **shared, STACK_MARK: str(settings.state)}


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in secret_names()}

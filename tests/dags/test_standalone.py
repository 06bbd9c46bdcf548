"""The local stack's Airflow as it runs: where it listens, what it is told, and which runs it refuses."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydantic import SecretStr

from infra.local.programs import programs
from infra.local.settings import StackSettings
from tests.dags.conftest import PROJECT
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until

PASSWORD = "a-password-for-this-test"
RUNS = "/api/v2/dags/retrain_nightly/dagRuns"


@pytest.fixture(scope="module")
def settings(airflow_python: Path, tmp_path_factory: pytest.TempPathFactory) -> StackSettings:
    state = tmp_path_factory.mktemp("standalone")
    (state / "airflow").mkdir()
    (state / "airflow" / "passwords.json").write_text(json.dumps({"admin": PASSWORD}))
    return StackSettings(
        _env_file=None, root=PROJECT, local_dir=state, airflow_venv=airflow_python.parent.parent,
        airflow_port=free_port(), postgres_password=SecretStr("unused"), clickhouse_password=SecretStr("unused"),
        clickhouse_reader_password=SecretStr("unused"), admin_api_key=SecretStr("a-key-for-others"),
        airflow_admin_password=SecretStr(PASSWORD),
    )  # fmt: skip


@pytest.fixture(scope="module")
def airflow(settings: StackSettings) -> Iterator[ServiceProcess]:
    """Airflow as the stack's own program; its trainer does nothing."""
    program = programs(settings, os.environ["PATH"])["airflow"]
    environment = dict(program.environment) | {
        "IMPORTER_COMMAND": "true",
        "TRAINER_COMMAND": "true",
        "INFERENCE_URL": "http://127.0.0.1:9",
    }
    process = ServiceProcess(
        "airflow", program.argv, settings.state / "airflow.log", env=environment, stop_signal=signal.SIGINT
    )
    process.start()
    try:
        process.wait_ready(lambda: healthy(settings), 240)
        yield process
    finally:
        process.close()


def healthy(settings: StackSettings) -> bool:
    try:
        parts = httpx.get(f"{url(settings)}/api/v2/monitor/health", timeout=5).raise_for_status().json()
    except httpx.HTTPError:
        return False
    return all(parts[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "triggerer"))


def url(settings: StackSettings) -> str:
    return f"http://127.0.0.1:{settings.airflow_port}"


@pytest.fixture(scope="module")
def api(airflow: ServiceProcess, settings: StackSettings) -> Iterator[httpx.Client]:
    login = {"username": "admin", "password": PASSWORD}
    token = httpx.post(f"{url(settings)}/auth/token", json=login, timeout=30).raise_for_status().json()["access_token"]
    with httpx.Client(
        base_url=url(settings), headers={"Authorization": f"Bearer {token}"}, timeout=60
    ) as client:  # fmt: skip
        wait_until(lambda: client.get("/api/v2/dags/retrain_nightly").is_success, 120, "the DAG is known", 1)
        client.patch("/api/v2/dags/retrain_nightly", json={"is_paused": False}).raise_for_status()
        yield client


def test_it_listens_on_loopback_only(airflow: ServiceProcess, api: httpx.Client, settings: StackSettings) -> None:
    processes = [psutil.Process(airflow.pid), *psutil.Process(airflow.pid).children(recursive=True)]
    assert len(processes) >= 5
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", settings.airflow_port)}


def test_no_part_of_it_holds_the_key_of_the_api(airflow: ServiceProcess, api: httpx.Client) -> None:
    for process in [psutil.Process(airflow.pid), *psutil.Process(airflow.pid).children(recursive=True)]:
        assert not process.environ().get("ADMIN_API_KEY")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"logical_date": "2199-01-01T00:00:00Z"}, "in the future"),
        ({"logical_date": "9999-12-31T23:59:59Z"}, "in the future"),
        (
            {
                "logical_date": "2199-01-01T00:00:00Z",
                "data_interval_start": "2000-01-01T00:00:00Z",
                "data_interval_end": "2000-01-02T00:00:00Z",
                "dag_run_id": "manual__2000-01-01T00:00:00+00:00",
            },
            "in the future",
        ),
        ({"logical_date": None, "conf": {"note": "x" * 20_000}}, "10000 are allowed"),
        ({"logical_date": None, "conf": {"force": "perhaps"}}, "boolean"),
        ({"logical_date": None, "dag_run_id": "a/b"}, "does not match"),
        ({"logical_date": None, "dag_run_id": "x" * 201}, "200 are allowed"),
    ],
)
def test_a_run_that_could_not_begin_or_carries_too_much_is_refused_at_once(
    api: httpx.Client, body: dict[str, Any], reason: str
) -> None:
    answer = api.post(RUNS, json=body)
    assert answer.status_code in {400, 422}, answer.text
    assert reason in answer.text
    assert "Traceback" not in answer.text
    # The nightly run may be under way: the schedule's time is a time of day.
    begun = api.get(RUNS, params={"run_type": "manual", "state": ["queued", "running"]}).json()
    assert begun["total_entries"] == 0, begun


def test_after_those_a_run_begins_and_ends_whatever_its_name_and_however_long_ago(api: httpx.Client) -> None:
    for body in (
        {"logical_date": None},
        {"logical_date": "1970-01-01T00:00:00Z", "dag_run_id": "~~"},
        {"logical_date": "0001-01-02T00:00:00Z", "dag_run_id": "-" + "x" * 199},
    ):
        run = api.post(RUNS, json=body).raise_for_status().json()
        where = f"{RUNS}/{run['dag_run_id']}"
        wait_until(lambda where=where: api.get(where).json()["state"] in {"failed", "success"}, 180, "its end", 1)  # type: ignore[misc]
        # Its trainer says nothing, so there is no version to verify: every step before was run.
        states = {t["task_id"]: t["state"] for t in api.get(f"{where}/taskInstances").json()["task_instances"]}
        assert states.pop("verify") == "failed"
        assert set(states.values()) == {"success"}

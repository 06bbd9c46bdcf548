"""The whole loop, as `make demo` and `make loop` prove it."""

import clickhouse_connect
import httpx

from services.contracts.tables import EVENTS_VIEW, FILES_EPOCH
from tests.e2e.conftest import RunningStack


def test_the_demo_proves_every_step_of_the_loop(running_stack: RunningStack) -> None:
    assert running_stack.demo_output.count("✓") == 8
    assert "✗" not in running_stack.demo_output


def test_status_shows_every_program_running(running_stack: RunningStack) -> None:
    status = running_stack.make("infra.local", "status")
    assert status.returncode == 0, status.stdout
    for program in ("kafka", "clickhouse", "postgres", "inference", "consumer", "ui", "airflow"):
        assert program in status.stdout


def test_a_second_load_of_the_same_data_adds_nothing(running_stack: RunningStack) -> None:
    client = clickhouse_connect.get_client(dsn=running_stack.addresses.clickhouse.get_secret_value())
    stored = f"SELECT count() FROM {EVENTS_VIEW} WHERE epoch = {FILES_EPOCH}"
    assert client.command(stored) == 100_000
    load = running_stack.make_with_services("services.importer", "load", "--movielens", running_stack.data)
    assert load.returncode == 0, load.stdout
    assert client.command(stored) == 100_000


def test_the_api_describes_itself(running_stack: RunningStack) -> None:
    document = httpx.get(f"{running_stack.inference_url}/openapi.json").json()
    for path in ("/v1/users/{user_id}/recommendations", "/v1/events", "/v1/models/reload"):
        assert path in document["paths"]

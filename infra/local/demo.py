"""``make demo``: data, stack, schema, first models, then the proof; leaves everything running.

Every step is safe to run again: what is there already is found and skipped, so that a second run
starts from the state in ``.local`` within seconds.
"""

import os
import subprocess
import sys
import time

import httpx
import psycopg
from rich.console import Console

from infra.local.dataset import DatasetError, DatasetSettings, fetch
from infra.local.env_file import ensure_env_file
from infra.local.environment import service_environment
from infra.local.loop import Addresses, LoopError, prove, until
from infra.local.programs import STORES
from infra.local.settings import ROOT, StackSettings
from services.contracts.tables import MODEL_VERSIONS


class StepError(Exception):
    """A command of the demo failed; its own output has been shown."""


def main() -> int:
    """Run the demo; the exit status says whether the whole loop was seen to work."""
    console = Console()
    begin = time.monotonic()
    try:
        ensure_env_file(ROOT / ".env", ROOT / ".env.example")
        settings = StackSettings.load()
        data = fetch(DatasetSettings.from_environment(), settings.state / "data")
        _run(console, "starting Kafka, ClickHouse and PostgreSQL", {}, "infra.local", "up", "--only", ",".join(STORES))
        env = service_environment(settings)
        _run(console, "applying the migrations", env, "services.common.migrations")
        _run(console, "starting the services", {}, "infra.local", "up")
        _run(console, f"loading {data.name}", env, "services.trainer", "load", "--movielens", str(data))
        if _has_champion(settings.postgres):
            console.print("models: one is promoted already")
        else:
            run = ("run", "--run-id", f"initial-{data.name}", "--force")
            _run(console, "training the first models", env, "services.trainer", *run)
    except DatasetError as error:
        console.print(f"data: {error}", style="red", markup=False)
        return 1
    except StepError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    addresses = Addresses.of(settings)
    try:
        until(lambda: _serves(addresses.inference), 60, "no model is served 60 s after one was promoted", "inference")
    except LoopError as error:
        console.print(f"{error}\nRead the log: make logs S={error.log}", style="red", markup=False)
        return 1
    if not prove(addresses, console):
        return 1
    console.print(f"Everything runs after {time.monotonic() - begin:.0f} s. Stop it with: make stop")
    urls = {"Demo": env["UI_URL"], "REST API": f"{addresses.inference}/docs", "Airflow": addresses.airflow}
    for name, url in urls.items():
        console.print(f"  {name:9} {url}", markup=False)
    console.print("  Airflow's user is admin, its password AIRFLOW_ADMIN_PASSWORD in .env", markup=False)
    return 0


def _run(console: Console, what: str, env: dict[str, str], module: str, *arguments: str) -> None:
    console.print(f"[bold]{what}[/bold]")
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", module, *arguments], env=os.environ | env, check=False)
    if done.returncode:
        raise StepError(f"{what} failed: python -m {module} {' '.join(arguments)} exited with {done.returncode}")
    console.print(f"  done in {time.monotonic() - begin:.1f} s", style="dim")


def _serves(inference: str) -> bool:
    return httpx.get(f"{inference}/health/ready", timeout=5).is_success


def _has_champion(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        query = f"SELECT 1 FROM {MODEL_VERSIONS} WHERE stage = 'champion'"  # noqa: S608 – our own constant
        return connection.execute(query.encode()).fetchone() is not None


if __name__ == "__main__":
    sys.exit(main())

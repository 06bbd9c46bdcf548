"""``make demo``: data, stack, schema, first models, then the proof; leaves everything running.

Every step is safe to run again: what is there already is found and skipped, so that a second run
starts from the state in ``.local`` within seconds.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import httpx
import psycopg
from rich.console import Console

from infra.local.dataset import DatasetError, DatasetSettings, fetch
from infra.local.env_file import ensure_env_file
from infra.local.environment import service_environment
from infra.local.loop import Addresses, LoopError, prove, until
from infra.local.programs import STORES
from infra.local.settings import ROOT, StackSettings
from infra.local.stack import Stack
from services.contracts.tables import MODEL_VERSIONS


class StepError(Exception):
    """A command of the demo failed; the message names the log to read."""


def main() -> int:
    """Run the demo; the exit status says whether the whole loop was seen to work."""
    console = Console()
    begin = time.monotonic()
    try:
        ensure_env_file(ROOT / ".env", ROOT / ".env.example")
        settings = StackSettings.load()
        data = fetch(DatasetSettings.from_environment(), settings.state / "data")
        _up(console, "starting Kafka, ClickHouse and PostgreSQL", "--only", ",".join(STORES))
        _service(console, "applying the migrations", settings, "services.common.migrations")
        _up(console, "starting the services")
        _service(console, f"loading {data.name}", settings, "services.importer", "load", "--movielens", str(data))
        if _has_champion(settings.postgres):
            console.print("models: one is promoted already")
        else:
            run = ("run", "--run-id", f"initial-{data.name}", "--force")
            _service(console, "training the first models", settings, "services.trainer", *run)
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
    urls = {
        "Demo": service_environment(settings)["UI_URL"],
        "REST API": f"{addresses.inference}/docs",
        "Airflow": addresses.airflow,
    }
    prometheus = Stack(settings, os.environ).programs.get("prometheus")
    if prometheus:
        urls["Prometheus"] = prometheus.address
    for name, url in urls.items():
        console.print(f"  {name:10} {url}", markup=False)
    console.print("  Airflow's user is admin, its password AIRFLOW_ADMIN_PASSWORD in .env", markup=False)
    return 0


def _up(console: Console, what: str, *arguments: str) -> None:
    """Start programs; shows its progress as it is."""
    _run(console, what, [sys.executable, "-m", "infra.local", "up", *arguments], {}, None)


def _service(console: Console, what: str, settings: StackSettings, module: str, *arguments: str) -> None:
    """Run a service's command: its progress bars are shown, its JSON log goes to a file."""
    argv = [sys.executable, "-m", module, *arguments]
    _run(console, what, argv, service_environment(settings), settings.state / "logs" / "demo.log")


def _run(console: Console, what: str, argv: list[str], env: dict[str, str], log: Path | None) -> None:
    console.print(f"[bold]{what}[/bold]")
    begin = time.monotonic()
    with log.open("ab") if log else nullcontext() as stdout:
        done = subprocess.run(argv, env=os.environ | env, stdout=stdout, check=False)
    if done.returncode:
        where = f": {_last_error(log)}\nRead the log: {log}" if log else ""
        raise StepError(f"{what} failed with status {done.returncode}{where}")
    console.print(f"  done in {time.monotonic() - begin:.1f} s", style="dim")


def _last_error(log: Path) -> str:
    """What the command said last about an error."""
    for line in reversed(log.read_text(errors="replace").splitlines()[-50:]):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and ("error" in entry or entry.get("level") in {"error", "critical"}):
            return str(entry.get("error") or entry["event"])
    return "it did not say why"


def _serves(inference: str) -> bool:
    return httpx.get(f"{inference}/health/ready", timeout=5).is_success


def _has_champion(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        query = f"SELECT 1 FROM {MODEL_VERSIONS} WHERE stage = 'champion'"  # noqa: S608 – our own constant
        return connection.execute(query.encode()).fetchone() is not None


if __name__ == "__main__":
    sys.exit(main())

"""The whole stack of `make demo`, on ports and in a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.dataset import DatasetSettings, fetch
from infra.local.environment import service_environment
from infra.local.loop import Addresses
from infra.local.settings import StackSettings
from tests.support.ports import free_port
from tests.support.processes import ROOT

DEMO_SECONDS = 900
QUICK = {
    "PROMETHEUS_INTERVAL_SECONDS": "2",
    "PROBE_INTERVAL_SECONDS": "2",
    "EXPORTER_INTERVAL_SECONDS": "2",
    "EXPORTER_LISTS_SECONDS": "5",
}
"""Everything that is looked at now and then is looked at often, so that no test waits long."""


@dataclass(frozen=True)
class RunningStack:
    """A stack on which the demo has run."""

    inference_url: str
    ui_url: str
    addresses: Addresses
    environment: dict[str, str]
    service_environment: dict[str, str]
    state: Path
    data: str
    demo_output: str

    def make(self, module: str, *arguments: str, timeout: float = DEMO_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run what a Make target runs, on this stack."""
        return _python(self.environment, module, *arguments, timeout=timeout)

    def make_with_services(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a service's command with the addresses that the stack gives to its programs."""
        return _python(self.environment | self.service_environment, module, *arguments, timeout=DEMO_SECONDS)


def _python(env: dict[str, str], module: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        argv,
        cwd=ROOT,
        env=env,
        check=False,
        timeout=timeout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.fixture(scope="session")
def running_stack() -> Iterator[RunningStack]:
    """What `make demo` leaves running; stopped at the end, its logs kept when the demo failed."""
    state = Path(tempfile.mkdtemp(prefix="movierecs-e2e-"))
    state.chmod(0o755)  # PostgreSQL may run as another user
    ports = {name.upper(): str(free_port()) for name in StackSettings.model_fields if name.endswith("_port")}
    data = fetch(DatasetSettings(), ROOT / ".local" / "data")
    environment = os.environ | ports | QUICK | {"LOCAL_DIR": str(state), "MOVIELENS_DIR": str(data), "COLUMNS": "160"}
    passed = False
    try:
        demo = _python(environment, "infra.local.demo", timeout=DEMO_SECONDS)
        print(demo.stdout)
        assert demo.returncode == 0, f"the demo failed; the logs are in {state}/logs\n{demo.stdout}"
        values = {name.lower(): value for name, value in ports.items()} | {"local_dir": str(state)}
        settings = StackSettings(_env_file=ROOT / ".env", **values)  # type: ignore[arg-type]
        yield RunningStack(
            inference_url=f"http://127.0.0.1:{ports['INFERENCE_PORT']}",
            ui_url=f"http://127.0.0.1:{ports['UI_PORT']}",
            addresses=Addresses.of(settings),
            environment=environment,
            service_environment=service_environment(settings),
            state=state,
            data=str(data),
            demo_output=re.sub(r"\x1b\[[0-9;]*m", "", demo.stdout),
        )
        passed = True
    finally:
        down = _python(environment, "infra.local", "down", timeout=120)
        print(down.stdout)
        if passed:
            shutil.rmtree(state, ignore_errors=True)
    assert down.returncode == 0, down.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A whole stack leaves nothing of the machine to other tests, and the demo measures time."""
    for item in items:
        if isinstance(item, pytest.Function) and "running_stack" in item.fixturenames:
            item.add_marker(pytest.mark.serial)

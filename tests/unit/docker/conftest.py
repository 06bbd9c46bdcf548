"""docker-compose.yml as Docker Compose understands it: read by Compose's own library, with an `.env` of `make env`."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values

from infra.local.env_file import ensure_env_file
from tests.support.processes import ROOT
from tests.support.tools import require_tool

COMPOSE = ROOT / "docker-compose.yml"


@dataclass(frozen=True)
class Project:
    """The services, and the secrets that they were given."""

    services: dict[str, dict[str, Any]]
    networks: dict[str, dict[str, Any]]
    secrets: dict[str, str]

    def environment(self, service: str) -> dict[str, str]:
        return dict(self.services[service].get("environment") or {})

    def is_one_shot(self, service: str) -> bool:
        return str(self.services[service]["restart"]).startswith("on-failure")

    @property
    def one_shots(self) -> set[str]:
        return {name for name in self.services if self.is_one_shot(name)}


def load(env_file: Path) -> subprocess.CompletedProcess[str]:
    """What `docker compose config` would say."""
    argv = [require_tool("compose_check"), str(COMPOSE), str(env_file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="session")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compose") / ".env"
    ensure_env_file(path, ROOT / ".env.example")
    return path


@pytest.fixture(scope="session")
def project(env_file: Path) -> Project:
    done = load(env_file)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    example, values = dotenv_values(ROOT / ".env.example"), dotenv_values(env_file)
    secrets = {name: values[name] or "" for name, value in example.items() if str(value).startswith("GENERATED")}
    return Project(loaded["services"], loaded["networks"], secrets)

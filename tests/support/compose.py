"""docker-compose.yml as Docker Compose understands it: read by Compose's own library."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from infra.local.env_file import ensure_env_file
from tests.support.processes import ROOT
from tests.support.tools import require_tool

COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
PORTS = {"kafka": {9092}, "clickhouse": {8123, 9363}, "postgres": {5432}, "api": {8000}, "inference": {8000},
         "consumer": {9101}, "exporter": {9102}, "probe": {9103}, "ui": {8501, 9105}, "airflow-api-server": {8080},
         "statsd-exporter": {9104}, "prometheus": {9090}, "alertmanager": {9093}, "loki": {3100}, "alloy": {12345},
         "docker-socket": {2375},
         "grafana": {3000}}  # fmt: skip
"""Where each service listens; tests compare it with what each is told."""


@dataclass(frozen=True)
class Project:
    """The services, and the secrets that they were given."""

    name: str
    services: dict[str, dict[str, Any]]
    networks: dict[str, dict[str, Any]]
    secrets: dict[str, str]

    def environment(self, service: str) -> dict[str, str]:
        """What a container is given."""
        return dict(self.services[service].get("environment") or {})

    def is_one_shot(self, service: str) -> bool:
        """Whether it runs to an end instead of for ever."""
        return str(self.services[service]["restart"]).startswith("on-failure")

    def waits_for(self, service: str) -> set[str]:
        """All that a service waits for, directly or not."""
        direct = set(self.services[service].get("depends_on") or {})
        return direct.union(*map(self.waits_for, direct))

    @property
    def one_shots(self) -> set[str]:
        """The names of all that do."""
        return {name for name in self.services if self.is_one_shot(name)}


def load(env_file: Path) -> subprocess.CompletedProcess[str]:
    """What `docker compose config` would say."""
    argv = [require_tool("compose_check"), str(COMPOSE), str(env_file)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def project_of(env_file: Path) -> Project:
    """The project with an `.env` as `make env` writes it, made at `env_file`."""
    ensure_env_file(env_file, EXAMPLE)
    done = load(env_file)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    example, values = dotenv_values(EXAMPLE), dotenv_values(env_file)
    secrets = {name: values[name] or "" for name, value in example.items() if str(value).startswith("GENERATED")}
    return Project(loaded["name"], loaded["services"], loaded["networks"], secrets)

"""All our images, one after the other as Compose starts them: its commands, environments and health checks, no Docker.

Kafka, ClickHouse and PostgreSQL are the real test servers. Paths, ports and addresses are the only things that differ
from docker-compose.yml.
"""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from infra.local.dataset import DatasetSettings, fetch
from tests.support.compose import Project, project_of
from tests.support.dockerfile import AIRFLOW_DOCKERFILE, image
from tests.support.images import Prefix
from tests.support.ports import free_port
from tests.support.processes import ROOT, wait_until
from tests.support.services import ClickHouseServer, KafkaServer, PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
PORTS = {
    "inference": ("INFERENCE_PORT", 8000),
    "consumer": ("CONSUMER_METRICS_PORT", 9101),
    "exporter": ("EXPORTER_PORT", 9102),
    "probe": ("PROBE_PORT", 9103),
    "ui": ("UI_PORT", 8501),
}


@dataclass
class Containers:
    """The project's containers as processes. `replace` is what differs from Compose: text → text."""

    project: Project
    folder: Path
    replace: Mapping[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    prefixes: dict[str, Prefix] = field(default_factory=dict)

    def prefix(self, service: str) -> Prefix:
        """The service's image, built at its first use."""
        name = str(self.project.services[service]["image"])
        if name not in self.prefixes:
            builder = next(s for s in self.project.services.values() if s["image"] == name and "build" in s)["build"]
            one = image(ROOT / builder["dockerfile"], builder.get("target", ""), **builder.get("args", {}))
            self.prefixes[name] = Prefix(service, one, self.folder / service).build()
        return self.prefixes[name]

    def given(self, service: str) -> dict[str, str]:
        """The container's environment, with this machine's addresses, folders and ports."""
        environment = {name: self._here(value) for name, value in self.project.environment(service).items()}
        if service in PORTS:
            variable, _ = PORTS[service]
            environment[variable] = str(self.port(service))
        return environment

    def port(self, service: str) -> int:
        return self.ports.setdefault(service, free_port())

    def command(self, service: str) -> list[str]:
        return [self._port_of(service, word) for word in self.project.services[service]["command"]]

    def is_healthy(self, service: str) -> bool:
        check = [self._port_of(service, word) for word in self.project.services[service]["healthcheck"]["test"]]
        return self.prefix(service).is_healthy(check, self.given(service))

    def _port_of(self, service: str, word: str) -> str:
        return word.replace(str(PORTS[service][1]), str(self.port(service))) if service in PORTS else word

    def _here(self, value: str) -> str:
        for old, new in self.replace.items():
            value = re.sub(old, new, value)
        return value


@pytest.fixture
def containers(
    own_kafka: KafkaServer, own_clickhouse: ClickHouseServer, own_postgres: PostgresServer, tmp_path: Path
) -> Containers:
    project = project_of(tmp_path / ".env")
    data = fetch(DatasetSettings(), ROOT / ".local/data")
    models, runs = tmp_path / "models", tmp_path / "runs"
    made = Containers(
        project,
        tmp_path,
        {
            r"^kafka:9092$": own_kafka.bootstrap,
            r"^http://movierecs:.*@clickhouse:8123/default$": own_clickhouse.url(),
            r"^http://reader:.*@clickhouse:8123/default$": own_clickhouse.reader_url,
            r"^postgresql://movierecs:.*@postgres:5432/movierecs$": own_postgres.dsn(),
            r"^/models$": str(models),
            r"^/runs$": str(runs),
            r"^/landing$": str(tmp_path / "landing"),
        },
    )
    made.project.services["load"]["environment"]["MOVIELENS_DIR"] = str(data)
    # The proxy's place: one replica, asked directly.
    made.replace = {**made.replace, r"^http://(api|inference):8000$": f"http://127.0.0.1:{made.port('inference')}"}
    return made


def test_the_images_make_the_whole_loop(containers: Containers) -> None:
    def one_shot(service: str) -> str:
        return containers.prefix(service).run(containers.command(service), containers.given(service), timeout=600)

    one_shot("migrations")
    one_shot("topics")
    with ExitStack() as running:

        def start(service: str) -> None:
            prefix = containers.prefix(service)
            process = prefix.service(containers.command(service), containers.given(service))
            running.enter_context(process)
            process.wait_ready(lambda: containers.is_healthy(service), 90)

        start("consumer")
        one_shot("load")
        assert '"stage": "champion"' in containers.prefix("load").run(
            ["python", "-m", "services.trainer", "versions"], containers.given("load")
        )
        again = one_shot("load")
        assert '"step": "run"' not in again, "a second `up` must not train again"
        start("inference")
        start("exporter")
        start("probe")
        start("ui")

        api = f"http://127.0.0.1:{containers.port('inference')}"
        films = httpx.get(f"{api}/v1/users/1/recommendations", params={"k": 5}, timeout=30).raise_for_status()
        assert len(films.json()["items"]) == 5
        like = {"user_id": 990_001, "item_id": films.json()["items"][0]["id"], "action": "like"}
        assert httpx.post(f"{api}/v1/events", json=like, timeout=30).status_code == 202
        metrics = f"http://127.0.0.1:{containers.port('consumer')}/metrics"

        def is_stored() -> bool:
            text = httpx.get(metrics, timeout=10).text
            return any(
                float(n) >= 1 for n in re.findall(r"^ingest_rows_written_total\S* (\S+)", text, flags=re.MULTILINE)
            )

        wait_until(is_stored, 30, "the consumer has written the like")


def test_airflows_image_runs_the_importer_and_the_trainer_in_their_own_environment(containers: Containers) -> None:
    one = image(AIRFLOW_DOCKERFILE)
    containers.prefix("migrations").run(containers.command("migrations"), containers.given("migrations"), timeout=120)
    prefix = containers.prefix("airflow-scheduler")
    command = prefix.environment({})["TRAINER_COMMAND"].split()
    assert command[1:] == one.environment["TRAINER_COMMAND"].split()[1:]
    assert "promote" in prefix.run([*command, "--help"], {})
    importer = prefix.environment({})["IMPORTER_COMMAND"].split()
    assert "import-files" in prefix.run([*importer, "--help"], {})
    versions = prefix.run([*command, "versions"], containers.given("airflow-scheduler"))
    assert '"step": "versions"' in versions
    assert (prefix.app / "dags/retrain_nightly.py").exists()

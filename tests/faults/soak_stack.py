"""The processes of a soak: the stores, two replicas of the service, three consumers; all its own."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from infra.local.kafka.jars import java_and_maven
from infra.local.readiness import http_body
from services.contracts.topics import EVENTS_TOPIC, IMPRESSIONS_TOPIC
from tests.faults.world import World
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, crown, prepare_catalogue
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until
from tests.support.services import ClickHouseServer, KafkaServer, PostgresServer

FILMS = 45
STEADY = "consumer-steady"
"""It is never hit: its memory is that of the whole run."""
WEIGHTS = {
    "consumer-1": 3, "consumer-2": 3, "clickhouse": 3, "kafka": 2, "inference-1": 2, "inference-2": 2, "postgres": 1,
}  # fmt: skip
"""Who may be hit, and how often compared with the others."""
READY_SECONDS = 90


class Stack:
    """Started when made; `processes` are all of them by name."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        if not java_and_maven()[0]:
            raise SystemExit("the soak needs `java` on PATH: the in-memory broker loses what a killed one keeps")
        self._folder = folder
        for name in ("kafka", "clickhouse", "postgres"):
            (folder / name).mkdir()
        self.kafka = KafkaServer(folder / "kafka")
        self.clickhouse = ClickHouseServer(folder / "clickhouse")
        self.postgres = PostgresServer(folder / "postgres")
        self._stores = (self.kafka, self.clickhouse, self.postgres)
        try:
            self._start(rng)
        except BaseException:
            for store in self._stores:
                store.close()
            raise

    def _start(self, rng: random.Random) -> None:
        for store in self._stores:
            store.process.start()
        for store in self._stores:
            store.process.wait_ready(store.answers, READY_SECONDS)
        self.world = World(self._folder, self.kafka, self.clickhouse, rng)
        # The service knows its topics by their names; the broker is ours alone.
        self.world.topic, self.world.impressions_topic = EVENTS_TOPIC, IMPRESSIONS_TOPIC
        self.world.create_topic()
        prepare_catalogue(self.postgres.dsn(), FILMS)
        models = self._folder / "models"
        nobody = {10**6: [1, 2, 3]}  # a viewer whom no client acts for
        crown(self.postgres.dsn(), make_bundle(models, items=FILMS - 5, likes=nobody).manifest)
        self.processes = {store.process.name: store.process for store in self._stores}
        self.replicas: dict[str, str] = {}
        for name in ("inference-1", "inference-2"):
            self._start_replica(name, models)
        for name in (STEADY, "consumer-1", "consumer-2"):
            self.processes[name] = self.world.consumer(
                name=name, consumer_block_rows=1_000, consumer_audit_seconds=5, consumer_audit_full_seconds=15
            )
        self.wait_ready()
        # Its memory must not grow from here on; while it starts it does.
        steady = self.processes[STEADY]
        wait_until(
            lambda: '"assigned"' in steady.log_file.read_text(), READY_SECONDS, "it consumes", 0.2, log_of=steady
        )

    def _start_replica(self, name: str, models: Path) -> None:
        port = free_port()
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "CLICKHOUSE_URL": self.world.url,
            "POSTGRES_DSN": self.postgres.dsn(),
            "MODEL_DIR": str(models),
            "ADMIN_API_KEY": ADMIN_KEY,
            "INFERENCE_PORT": str(port),
        }
        argv = [sys.executable, "-m", "services.inference"]
        self.replicas[name] = f"http://127.0.0.1:{port}"
        self.processes[name] = ServiceProcess(name, argv, self._folder / f"{name}.log", env=environment).start()

    def wait_ready(self) -> None:
        """Wait until every store answers and every replica is ready.

        Raises:
            AssertionError: one is not, in time.
        """
        checks: dict[str, Callable[[], bool]] = {store.process.name: store.answers for store in self._stores}
        for name, url in self.replicas.items():
            checks[name] = lambda url=url: bool(http_body(f"{url}/health/ready"))  # type: ignore[misc]
        for name, check in checks.items():
            wait_until(check, READY_SECONDS, f"{name} is ready", 0.2, log_of=self.processes[name])

    def close(self) -> None:
        """Leave no process behind."""
        for process in self.processes.values():
            process.close()

"""One replica of the inference service in this process, on real stores: real HTTP, topics and folder of its own."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import uvicorn
from pydantic import SecretStr

from services.common.migrations import POSTGRES_MIGRATIONS, migrate_postgres, read_migrations
from services.common.registry import promote, register
from services.contracts.bundle import Manifest
from services.contracts.rest import ADMIN_KEY_HEADER
from services.inference.http.dependencies import Services
from services.inference.http.server import server_config
from services.inference.main import build
from services.inference.settings import InferenceSettings
from tests.support import processes
from tests.support.bundles import GENRES, make_bundle
from tests.support.services import KafkaServer, PostgresServer

ADMIN_KEY = "a-key-for-these-tests"


@dataclass
class Replica:
    """A served application; `start` returns once it answers, `stop` shuts it down as SIGTERM would."""

    kafka: str
    postgres: str
    clickhouse: str
    model_dir: Path
    events_topic: str
    impressions_topic: str
    publish_timeout_seconds: float = 5.0
    client: httpx.Client = field(init=False)
    services: Services = field(init=False)

    def start(self) -> "Replica":
        app = build(
            InferenceSettings(
                kafka_bootstrap_servers=self.kafka,
                clickhouse_url=SecretStr(self.clickhouse),
                postgres_dsn=SecretStr(self.postgres),
                model_dir=self.model_dir,
                admin_api_key=SecretStr(ADMIN_KEY),
                publish_timeout_seconds=self.publish_timeout_seconds,
            ),
            events_topic=self.events_topic,
            impressions_topic=self.impressions_topic,
        )
        self.services = app.state.services
        self._server = uvicorn.Server(server_config(app, "127.0.0.1", 0))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_until(lambda: self._server.started, "the server has started")
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        return self

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive(), "the replica did not shut down in order"

    def ready(self) -> bool:
        return self.client.get("/health/ready").status_code == 200

    def reload(self) -> httpx.Response:
        return self.client.post("/v1/models/reload", headers={ADMIN_KEY_HEADER: ADMIN_KEY})

    def version(self) -> str:
        return str(self.client.get("/v1/models/current").json()["version"])

    def post(self, *events: dict[str, object]) -> httpx.Response:
        return self.client.post("/v1/events", json={"events": list(events)})

    def recommendations(self, user: int, k: int = 100) -> tuple[str, list[int]]:
        """The strategy and the films."""
        answer = self.client.get(f"/v1/users/{user}/recommendations", params={"k": k}).raise_for_status().json()
        return answer["strategy"], [item["id"] for item in answer["items"]]


@contextmanager
def one_replica(kafka: KafkaServer, postgres: PostgresServer, folder: Path, films: int = 45) -> Iterator[Replica]:
    """A ready replica with a catalogue, a model and topics of its own; ClickHouse is away."""
    name = postgres.create_database()
    prepare_catalogue(postgres.dsn(name), films)
    events, impressions = kafka.create_topic(partitions=1), kafka.create_topic(partitions=1)
    crown(postgres.dsn(name), make_bundle(folder).manifest)
    nowhere = "http://default:@127.0.0.1:9/default"
    replica = Replica(kafka.bootstrap, postgres.dsn(name), nowhere, folder, events, impressions).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        yield replica
    finally:
        replica.stop()
        postgres.drop_database(name)


def assert_problem(answer: httpx.Response, status: int, *fields: str) -> None:
    """The answer is a problem document that names exactly these fields."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert tuple(error["field"] for error in problem["errors"]) == fields
    assert "Traceback" not in answer.text


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Poll until the condition holds; fail by name when it does not in time, which is longer beside other workers."""
    processes.wait_until(condition, seconds, what, 0.02)


def prepare_catalogue(dsn: str, items: int = 45) -> None:
    """Migrate, and add films 1…``items``: five more than the bundles of `make_bundle` know."""
    with psycopg.connect(dsn) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        for item in range(1, items + 1):
            title = {1: "Toy Story", 2: "100% Wolf", 3: "Matrix, The"}.get(item, f"Film number {item}")
            connection.execute(
                "INSERT INTO items (item_id, title, year, genres) VALUES (%s, %s, %s, %s)",
                (item, title, 1990 + item % 10, [GENRES[(item + 1) % 2]]),
            )


def crown(dsn: str, manifest: Manifest) -> None:
    """Register a bundle, if need be, and make it the champion, as the trainer does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        register(connection, manifest)
        promote(connection, manifest.version, "test")

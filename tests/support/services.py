"""The real Kafka, ClickHouse and PostgreSQL as test servers: own data folder, own ports, same programs as the stack."""

import os
import secrets
import signal
import sys
import urllib.request
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from infra.local.postgres.role_passwords import password_of
from infra.local.readiness import http_body, kafka_answers, postgres_answers
from services.common.kafka import admin, describe_topic, end_offsets
from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess, wait_until

JARS = ROOT / os.environ.get("LOCAL_DIR", ".local") / "kafka"


class Server(ABC):
    """A service that keeps its data and its address over stops, kills and restarts."""

    process: ServiceProcess

    @abstractmethod
    def answers(self) -> bool:
        """Whether it answers a client now."""

    def start(self, deadline_seconds: float = 90) -> float:
        """Start it (again) and wait until it answers; returns the seconds that took."""
        self.process.start()
        return self.process.wait_ready(self.answers, deadline_seconds)

    def stop(self) -> int:
        """Let it shut down in order; returns its exit status."""
        return self.process.stop(deadline_seconds=30)

    def kill9(self) -> None:
        """End it as a crash would."""
        self.process.kill9()

    def freeze(self) -> None:
        """Stop it in its tracks, connections open."""
        self.process.freeze()

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self.process.thaw()

    def restart(self, deadline_seconds: float = 90) -> float:
        """Start it on the same data and port, killed first if it still runs; returns the seconds until it answers."""
        self.process.close()
        return self.start(deadline_seconds)

    def close(self) -> None:
        """Leave nothing running."""
        self.process.close()


class KafkaServer(Server):
    """Apache Kafka (or, where a test says so, librdkafka's in-memory broker). Does not create topics by itself."""

    def __init__(self, folder: Path, *, mock: bool = False) -> None:
        self.mock = mock
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.process = ServiceProcess(
            "kafka",
            [
                sys.executable, "-m", "infra.local.kafka", "--data", str(folder / "data"), "--libs", str(JARS),
                "--port", str(self.port), "--controller-port", str(free_port()), *(["--mock"] if mock else []),
            ],
            folder / "kafka.log",
        )  # fmt: skip

    def answers(self) -> bool:
        return kafka_answers(self.bootstrap)

    def create_topic(self, name: str = "", partitions: int = 4, config: dict[str, str] | None = None) -> str:
        """Make a topic and return its name: `name`, or one that no other test has."""
        topic = name or f"test-{uuid.uuid4().hex[:12]}"
        client = admin(self.bootstrap)
        if self.mock:
            # It has no CreateTopics; asking for a topic makes it, with four partitions.
            client.list_topics(topic, timeout=20)
            return topic
        request = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config or {})
        client.create_topics([request])[topic].result(timeout=20)
        self.wait_for_topic(topic)
        return topic

    def wait_for_topic(self, name: str) -> None:
        """Wait until every partition of a new topic answers: on a busy machine that is later than the creation."""

        def answers() -> bool:
            client = admin(self.bootstrap)
            try:
                return bool(end_offsets(client, describe_topic(client, name)))
            except KafkaException:
                return False

        wait_until(answers, 30, f"every partition of {name} answers")


class ClickHouseServer(Server):
    """The stack's ClickHouse over HTTP."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.http = f"http://127.0.0.1:{self.port}"
        self.password, self.reader_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
        self.process = ServiceProcess(
            "clickhouse",
            [
                sys.executable, "-m", "infra.local.clickhouse", "--data", str(folder / "data"),
                "--port", str(self.port), "--host", "127.0.0.1",
            ],
            folder / "clickhouse.log",
            env={"CLICKHOUSE_PASSWORD": self.password, "CLICKHOUSE_READER_PASSWORD": self.reader_password},
        )  # fmt: skip

    def answers(self) -> bool:
        return http_body(f"{self.http}/ping").startswith("Ok")

    def url(self, database: str = "default") -> str:
        """The URL as CLICKHOUSE_URL wants it."""
        return f"http://movierecs:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def reader_url(self) -> str:
        """The URL of the user who only reads, and only the database `default`."""
        return f"http://reader:{self.reader_password}@127.0.0.1:{self.port}/default"

    def create_database(self, name: str = "") -> str:
        """Make a database and return its name: `name`, or one that no other test has."""
        database = name or f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {database}")
        return database

    def drop_database(self, name: str) -> None:
        """Drop a database with all in it."""
        self.execute(f"DROP DATABASE IF EXISTS {name}")

    def execute(self, statement: str) -> str:
        """Run one statement and return the body of the answer; urllib.error.HTTPError when it is refused."""
        account = {"X-ClickHouse-User": "movierecs", "X-ClickHouse-Key": self.password}
        request = urllib.request.Request(f"{self.http}/", data=statement.encode(), headers=account, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())


class PostgresServer(Server):
    """The stack's PostgreSQL 18."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.password = secrets.token_urlsafe(12)
        self.process = ServiceProcess(
            "postgres",
            [sys.executable, "-m", "infra.local.postgres", "--data", str(folder / "data"), "--port", str(self.port)],
            folder / "postgres.log",
            env={"POSTGRES_PASSWORD": self.password},
            stop_signal=signal.SIGINT,
        )

    def answers(self) -> bool:
        return postgres_answers(self.dsn())

    def dsn_of(self, role: str) -> str:
        """The DSN of one of the services' roles, which have rights in the database `movierecs` alone."""
        return f"postgresql://{role}:{password_of(role, self.password)}@127.0.0.1:{self.port}/movierecs"

    def dsn(self, database: str = "movierecs") -> str:
        """The DSN as POSTGRES_DSN wants it."""
        return f"postgresql://movierecs:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str = "") -> str:
        """Make a database and return its name: `name`, or one that no other test has."""
        database = name or f"test_{uuid.uuid4().hex[:12]}"
        self._execute(f'CREATE DATABASE "{database}"')
        return database

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement.encode())

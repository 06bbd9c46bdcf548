"""Real services, started when the first test asks for one and shared by the session.

Tests keep apart by names of their own: `topic()`, `postgres_database`, `clickhouse_database`. A test that kills or
freezes a service asks for one of its own: `own_kafka`, `own_clickhouse`, `own_postgres`.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from infra.local.kafka.jars import jars_folder, java_and_maven
from tests.support.services import JARS, ClickHouseServer, KafkaServer, PostgresServer, Server

S = TypeVar("S", bound=Server)


@contextmanager
def _running(server: S, folder: Path) -> Iterator[S]:
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder / "data", ignore_errors=True)  # the log stays, for whoever reads the failure


def _kafka_server(folder: Path) -> KafkaServer:
    """Apache Kafka; without Java the tests fail, for a pass on the in-memory broker would promise too much."""
    java, mvn = java_and_maven()
    if java and (mvn or jars_folder(JARS).is_dir()):
        return KafkaServer(folder)
    if os.environ.get("ALLOW_MOCK_BROKER"):
        return KafkaServer(folder, mock=True)
    pytest.fail("Apache Kafka needs `java` and `mvn` on PATH; ALLOW_MOCK_BROKER=1 takes librdkafka's in-memory broker")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    folder = tmp_path_factory.mktemp("kafka")
    with _running(_kafka_server(folder), folder) as server:
        yield server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with _running(ClickHouseServer(folder), folder) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    folder = tmp_path_factory.mktemp("postgres")
    with _running(PostgresServer(folder), folder) as server:
        yield server


@pytest.fixture
def topic(kafka: KafkaServer) -> Callable[..., str]:
    """Make topics that no other test uses: `topic(partitions=2)` returns the name."""
    return kafka.create_topic


@pytest.fixture
def postgres_database(postgres: PostgresServer) -> Iterator[str]:
    """The DSN of an empty database of this test's own."""
    name = postgres.create_database()
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.fixture
def clickhouse_database(clickhouse: ClickHouseServer) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = clickhouse.create_database()
    yield clickhouse.url(name)
    clickhouse.drop_database(name)


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    folder = tmp_path / "own-kafka"
    folder.mkdir()
    with _running(_kafka_server(folder), folder) as server:
        yield server


@pytest.fixture
def own_clickhouse(tmp_path: Path) -> Iterator[ClickHouseServer]:
    folder = tmp_path / "own-clickhouse"
    folder.mkdir()
    with _running(ClickHouseServer(folder), folder) as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    folder = tmp_path / "own-postgres"
    folder.mkdir()
    with _running(PostgresServer(folder), folder) as server:
        yield server

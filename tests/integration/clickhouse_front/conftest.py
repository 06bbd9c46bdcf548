"""Clients of the local ClickHouse, each for one database of the test's own."""

from collections.abc import Callable, Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

Connect = Callable[..., Client]


@pytest.fixture
def connect(clickhouse_database: str) -> Iterator[Connect]:
    """Make clients of the test's database; keyword arguments are `get_client`'s."""
    made: list[Client] = []

    def make(**options: object) -> Client:
        made.append(clickhouse_connect.get_client(dsn=clickhouse_database, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Connect) -> Client:
    return connect()

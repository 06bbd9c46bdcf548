"""ClickHouse clients, made from a URL."""

from collections.abc import Mapping
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from services.common.waiting import wait_for


def connect(
    url: SecretStr,
    *,
    settings: Mapping[str, Any] | None = None,
    send_receive_timeout: int = 300,
    connect_timeout: int = 5,
    query_retries: int = 2,
    client_name: str = "movierecs",
) -> Client:
    """Return a client for one thread; clients hold a session and must not be shared between threads.

    Inserts are synchronous (``async_insert=0``), so that an acknowledged row is stored.

    Raises:
        clickhouse_connect.driver.exceptions.Error: the server does not answer or refuses us.
    """
    return clickhouse_connect.get_client(
        dsn=url.get_secret_value(),
        settings={"async_insert": 0, **(settings or {})},
        autogenerate_session_id=False,
        send_receive_timeout=send_receive_timeout,
        connect_timeout=connect_timeout,
        query_retries=query_retries,
        client_name=client_name,
    )


def connect_when_up(url: SecretStr, timeout_seconds: float | None = 60) -> Client:
    """Return `connect`'s client as soon as the server answers. Blocks; None: however long it takes.

    Raises:
        clickhouse_connect.driver.exceptions.Error: as `connect`, when the time is over.
    """
    return wait_for("ClickHouse", lambda: connect(url), timeout_seconds=timeout_seconds)

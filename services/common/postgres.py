"""PostgreSQL connections, made from a DSN."""

from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool
from pydantic import SecretStr


def connect(dsn: SecretStr, *, autocommit: bool = False) -> psycopg.Connection[TupleRow]:
    """Return a connection (5 s connect timeout, UTC).

    Raises:
        psycopg.OperationalError: the server does not answer or refuses us.
    """
    return psycopg.connect(dsn.get_secret_value(), autocommit=autocommit, connect_timeout=5, options="-c timezone=UTC")


def pool(dsn: SecretStr, *, max_size: int = 8) -> ConnectionPool[Any]:
    """Return a closed pool that checks connections before it hands them out; the caller opens and closes it."""
    return ConnectionPool(
        dsn.get_secret_value(),
        min_size=1,
        max_size=max_size,
        timeout=5,
        open=False,
        check=ConnectionPool.check_connection,
        kwargs={"autocommit": True, "options": "-c timezone=UTC", "connect_timeout": 5},
    )

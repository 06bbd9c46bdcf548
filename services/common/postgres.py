"""PostgreSQL connections from a DSN; none waits for ever for a server that is down or frozen."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import SecretStr

from services.common.waiting import wait_for

_NETWORK: dict[str, Any] = {
    # TCP keepalive: a peer that vanished is noticed within 25 s.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_CHECK_SECONDS = 2.0


def connect(dsn: SecretStr, *, autocommit: bool = False) -> psycopg.Connection[TupleRow]:
    """Return a connection (5 s connect timeout, UTC) whose statements may take as long as they need.

    Raises:
        psycopg.OperationalError: the server does not answer or refuses us.
    """
    return psycopg.connect(
        dsn.get_secret_value(), autocommit=autocommit, connect_timeout=5, options="-c timezone=UTC", **_NETWORK
    )


def connect_when_up(dsn: SecretStr, timeout_seconds: float | None = 60) -> psycopg.Connection[TupleRow]:
    """Return `connect`'s connection as soon as the server gives one. Blocks; None: however long it takes.

    Raises:
        psycopg.OperationalError: as `connect`, when the time is over.
    """
    return wait_for("PostgreSQL", lambda: connect(dsn), timeout_seconds=timeout_seconds)


@contextmanager
def advisory_lock(
    connection: psycopg.Connection[Any], key: int, *, wait_seconds: float | None = None
) -> Iterator[None]:
    """Hold the session's advisory lock ``key``; closing the connection releases it.

    Raises:
        psycopg.errors.LockNotAvailable: another session still holds it after ``wait_seconds``; None: wait for ever.
    """
    with connection.transaction():
        if wait_seconds is not None:
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{wait_seconds}s",))
        connection.execute("SELECT pg_advisory_lock(%s)", (key,))
    try:
        yield
    finally:
        if not connection.broken:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_unlock(%s)", (key,))


class Pool(ConnectionPool[Any]):
    """A connection pool for requests, which fails fast while PostgreSQL is down.

    PostgreSQL's own time-outs do not work on a frozen server, so after its time limit each use ends by closing its
    connection. After that, or when no connection was available, one caller at a time tries again; all others fail at
    once.
    """

    _away = False
    _trying: threading.Lock

    @contextmanager
    def connection(self, timeout: float | None = None, *, seconds: float = 3.0) -> Iterator[Any]:
        """Lend a connection for at most ``seconds``, after waiting at most ``timeout`` seconds for it.

        Raises:
            psycopg.OperationalError: none was available (`psycopg_pool.PoolTimeout`), or ``seconds`` ran out.
        """
        tries = self._away
        if tries and not self._trying.acquire(blocking=False):
            raise PoolTimeout("PostgreSQL does not answer at the moment")
        try:
            with super().connection(timeout) as connection, ended_after(connection, seconds) as ended:
                self._away = False
                try:
                    yield connection
                finally:
                    self._away = self._away or ended.is_set()
        except PoolTimeout:
            self._away = True
            raise
        finally:
            if tries:
                self._trying.release()


def pool(dsn: SecretStr, *, max_size: int = 8) -> Pool:
    """Return a closed pool that checks connections before it hands them out; the caller opens and closes it."""
    made = Pool(
        dsn.get_secret_value(),
        min_size=1,
        max_size=max_size,
        timeout=3,
        reconnect_timeout=3,  # the next request tries instead; the pool's own attempts back off
        open=False,
        check=_check,
        kwargs={
            "autocommit": True,
            "options": "-c timezone=UTC -c statement_timeout=10s -c lock_timeout=3s",
            "connect_timeout": 3,
            **_NETWORK,
        },
    )
    made._trying = threading.Lock()
    return made


def _check(connection: psycopg.Connection[Any]) -> None:
    with ended_after(connection, _CHECK_SECONDS):
        ConnectionPool.check_connection(connection)


@contextmanager
def ended_after(connection: psycopg.Connection[Any], seconds: float) -> Iterator[threading.Event]:
    """Shut the connection's socket down when the block takes longer: it then fails with OperationalError.

    Unlike PostgreSQL's own time-outs this works while the server is frozen. The event is set when it has happened.
    """
    lock, ended, left = threading.Lock(), threading.Event(), threading.Event()

    def end() -> None:
        with lock:
            if left.is_set() or connection.closed:
                return
            ended.set()
            with socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield ended
    finally:
        with lock:  # after this the pool may lend the connection to somebody else
            left.set()
        timer.cancel()

"""The ClickHouse engine inside this process (chDB): opened once, one short-lived connection per query.

A connection costs a tenth of a millisecond and carries all of a query's state (database, settings, parameters), so
nothing can outlive the query. Queries run in parallel: the engine lets go of the interpreter lock while it works.
"""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import chdb
from chdb import ChdbError

from infra.local.clickhouse.access import engine_users
from infra.local.clickhouse.default_database import INTERACTIVE_DATABASE, plain_default_database
from infra.local.clickhouse.errors import Code, from_engine, raised
from infra.local.clickhouse.protocol import QueryContext, Statistics

_LIKE_THE_SERVER = {"implicit_select": "0"}
"""Where chDB's defaults, made for an interactive shell, differ from the server's."""


@dataclass(frozen=True)
class QueryResult:
    """A finished query: its result (empty if it was written elsewhere) and what it did."""

    body: bytes
    statistics: Statistics


class Engine:
    """The engine over one data directory, which must be this process's alone. Every method blocks; use from threads.

    ``max_memory`` bytes bound all queries together (a query past it fails with code 241, the process goes on).
    """

    def __init__(self, directory: Path, *, max_memory: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "config.xml"
        users = directory / "users.xml"
        users.write_text(engine_users())
        config.write_text(_config(users, max_memory))
        self._path = str(directory / "data")
        plain_default_database(directory / "data")
        self._keep = _connect(f"{self._path}?config-file={config}")
        self._idle = threading.Condition()
        self._running = 0
        self._closed = False
        found = self._keep.query("SELECT version(), serverTimezone()", "TSV").bytes().decode().split()
        self.version, self.timezone = f"{found[0]} (chdb {chdb.__version__})", found[1]

    def run(self, sql: bytes, context: QueryContext, *, output_format: str = "TabSeparated") -> QueryResult:
        """Run one statement to its end. Raises ClickHouseError with the engine's code."""
        with self._idle:
            if self._closed:
                raise raised(Code.ABORTED, "The server is shutting down.")
            self._running += 1
        connection = None
        try:
            connection = _connect(self._path)
            connection.query(f"SET ROLE {_identifier(context.role)}")
            if context.database:
                connection.query(f"USE {_identifier(context.database)}")
            connection.query(f"SET {_assignments({**_LIKE_THE_SERVER, **context.settings})}")
            result = connection.query(sql, output_format, params=dict(context.parameters))
            return QueryResult(result.bytes(), _statistics(result))
        except (ChdbError, RuntimeError) as error:
            raise from_engine(str(error)) from error
        finally:
            if connection is not None:
                connection.close()
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def kill(self, marker: str | None = None) -> None:
        """Ask the running queries whose text holds ``marker`` (None: all) to stop; they end with code 394."""
        condition = "1" if marker is None else f"position(query, {_literal(marker)}) > 0"
        connection = _connect(self._path)
        try:
            connection.query(f"KILL QUERY WHERE {condition} ASYNC")
        except (ChdbError, RuntimeError) as error:
            raise from_engine(str(error)) from error
        finally:
            connection.close()

    def close(self, *, grace_seconds: float) -> bool:
        """Refuse new queries, let running ones finish, stop those that take longer, and close the engine.

        Returns False if some query would not stop; the engine is then left open (its data are safe as after a kill).
        """
        with self._idle:
            self._closed = True
            if not self._idle.wait_for(lambda: self._running == 0, grace_seconds):
                self.kill()
            if not self._idle.wait_for(lambda: self._running == 0, 1.0):
                return False
        self._keep.close()
        return True


def _connect(target: str) -> Any:
    return chdb.connect(target)  # type: ignore[no-untyped-call]


def _statistics(result: Any) -> Statistics:
    return Statistics(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_seconds=result.elapsed(),
    )


def _config(users: Path, max_memory: int) -> str:
    return f"""<clickhouse>
    <users_config>{escape(str(users))}</users_config>
    <default_database>{INTERACTIVE_DATABASE}</default_database>
    <max_server_memory_usage>{max_memory}</max_server_memory_usage>
    <mark_cache_size>{min(max_memory // 8, 1 << 30)}</mark_cache_size>
    <display_name>{escape("movierecs-local")}</display_name>
</clickhouse>
"""


def _literal(text: str) -> str:
    return "'" + re.sub(r"(['\\])", r"\\\1", text) + "'"


def _identifier(name: str) -> str:
    return "`" + re.sub(r"([`\\])", r"\\\1", name) + "`"


def _assignments(settings: Mapping[str, str]) -> str:
    # Quoted always: the engine reads numbers out of strings, but not strings out of numbers.
    return ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items())

"""The erased viewers, as PostgreSQL lists them for the replicas and the trainer, and which erasures are pending.

A viewer who is listed is refused and hidden at once. The erasure is pending until the trainer has noted that no bundle
or run folder holds anything of them, and the importer that no landed file does. Functions take a connection that is not
inside a transaction, and leave it so. `services.common.erasure` deletes what ClickHouse stores.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from psycopg import Connection, sql

from services.contracts.ids import UserId
from services.contracts.tables import ERASED_USERS, USER_ERASED_CHANNEL, USERS

_TABLE = sql.Identifier(ERASED_USERS)
_IS_PENDING = sql.SQL("(forgotten_at IS NULL OR files_forgotten_at IS NULL)")


class Where(Enum):
    """Where data of an erased viewer may be left; the value is the column with the time of its deletion."""

    MODELS = sql.Identifier("forgotten_at")
    """Bundles, run folders and ClickHouse: the trainer's `forget`."""
    FILES = sql.Identifier("files_forgotten_at")
    """Landed files: the importer's `forget-files`."""


@dataclass(frozen=True)
class Erasure:
    """One viewer's erasure."""

    erased_at: datetime
    forgotten_at: datetime | None
    """None: pending."""


@dataclass(frozen=True)
class Pending:
    """Erasures that the nightly run has not completed."""

    viewers: int
    since: datetime | None
    """When the oldest of them was requested."""


def note(connection: Connection[Any], user_id: UserId) -> datetime:
    """List the viewer as erased, delete their demographics and tell every replica; return since when. Repeatable."""
    insert = sql.SQL(
        "INSERT INTO {} (user_id) VALUES (%s) ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id"
        " RETURNING erased_at"
    ).format(_TABLE)
    with connection.transaction():
        row = connection.execute(insert, (user_id,)).fetchone()
        connection.execute(sql.SQL("DELETE FROM {} WHERE user_id = %s").format(sql.Identifier(USERS)), (user_id,))
        connection.execute("SELECT pg_notify(%s, %s)", (USER_ERASED_CHANNEL, str(user_id)))
    assert row is not None, "RETURNING gives the row"
    erased_at: datetime = row[0]
    return erased_at


def erasure_of(connection: Connection[Any], user_id: UserId) -> Erasure | None:
    """Return the viewer's erasure, None if it was never requested."""
    query = sql.SQL(
        "SELECT erased_at, CASE WHEN NOT {} THEN greatest(forgotten_at, files_forgotten_at) END FROM {}"
        " WHERE user_id = %s"
    ).format(_IS_PENDING, _TABLE)
    with connection.transaction():
        row = connection.execute(query, (user_id,)).fetchone()
    return None if row is None else Erasure(*row)


def erased_viewers(connection: Connection[Any], *, pending_in: Where | None = None) -> frozenset[UserId]:
    """Return every viewer who was erased, or only those whose data ``pending_in`` may still hold."""
    condition = sql.SQL("") if pending_in is None else sql.SQL("WHERE {} IS NULL").format(pending_in.value)
    with connection.transaction():
        rows = connection.execute(sql.SQL("SELECT user_id FROM {} ").format(_TABLE) + condition).fetchall()
    return frozenset(UserId(row[0]) for row in rows)


def pending(connection: Connection[Any]) -> Pending:
    """Return how many erasures are pending, and since when."""
    query = sql.SQL("SELECT count(*), min(erased_at) FROM {} WHERE {}").format(_TABLE, _IS_PENDING)
    with connection.transaction():
        row = connection.execute(query).fetchone()
    assert row is not None, "an aggregate gives one row"
    return Pending(*row)


def settle(connection: Connection[Any], where: Where, forgotten: Collection[UserId], left: Collection[UserId]) -> None:
    """Record whose data is gone there, and whose data was found (again)."""
    done = sql.SQL("UPDATE {} SET {column} = now() WHERE user_id = ANY(%s) AND {column} IS NULL")
    again = sql.SQL("UPDATE {} SET {column} = NULL WHERE user_id = ANY(%s) AND {column} IS NOT NULL")
    with connection.transaction():
        connection.execute(done.format(_TABLE, column=where.value), (sorted(forgotten),))
        connection.execute(again.format(_TABLE, column=where.value), (sorted(left),))

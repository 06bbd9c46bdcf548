"""Stores a file's ratings as events, once: which file it is, is told by its content alone."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray
from psycopg import Connection, sql

from services.contracts.tables import ERASED_USERS, EVENTS, FILES_EPOCH, LOADED_FILES
from services.trainer.file_events import FileRows, partition_of, to_arrow


def rows_when_complete(postgres: Connection[Any], clickhouse: Client, digest: bytes) -> int | None:
    """Return the file's number of rows if all of them are stored, else None."""
    with postgres.transaction():
        found = postgres.execute(
            sql.SQL("SELECT rows FROM {} WHERE sha256 = %s").format(sql.Identifier(LOADED_FILES)), (digest.hex(),)
        ).fetchone()
    if found is None:
        return None
    # An emptied ClickHouse beside a kept PostgreSQL is loaded anew.
    stored = clickhouse.query(
        f"SELECT uniqExact(offset) FROM {EVENTS} WHERE epoch = {{epoch:UInt64}} AND partition = {{partition:UInt64}}",  # noqa: S608
        parameters={"epoch": FILES_EPOCH, "partition": partition_of(digest)},
    ).result_rows[0][0]
    rows = int(found[0])
    complete = stored == rows or (stored > 0 and len(_erased_users(clickhouse)) > 0)
    return rows if complete else None


def store(
    postgres: Connection[Any], clickhouse: Client, blocks: Iterable[FileRows], *, digest: bytes, name: str, source: str
) -> int:
    """Insert the blocks, then note the file as complete; return its number of rows. Safe to repeat.

    Ratings of erased viewers are left out. Each block is acknowledged, and so on disk, before the next.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses; blocks before are stored.
        psycopg.Error: all blocks are stored, but the file is not noted.
    """
    erased = _erased_users(clickhouse)
    # A block that ClickHouse has seen must pass through again: a crash may have come between the table and its view.
    settings = {"insert_deduplicate": 0}
    rows = 0
    for block in blocks:
        table = to_arrow(block, digest, source)
        kept = ~np.isin(block.user_id, erased)
        clickhouse.insert_arrow(EVENTS, table if kept.all() else table.filter(kept), settings=settings)
        rows += len(block)
    with postgres.transaction():
        postgres.execute(
            sql.SQL("INSERT INTO {} (sha256, name, rows) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING").format(
                sql.Identifier(LOADED_FILES)
            ),
            (digest.hex(), name, rows),
        )
    return rows


def _erased_users(clickhouse: Client) -> NDArray[np.int64]:
    rows = clickhouse.query(f"SELECT DISTINCT user_id FROM {ERASED_USERS}").result_rows  # noqa: S608
    return np.array([row[0] for row in rows], np.int64)

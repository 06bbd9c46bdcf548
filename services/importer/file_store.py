"""Stores a file's ratings as events, once: a file is identified by its content."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from numpy.typing import NDArray
from psycopg import Connection, sql

from services.common.erased import erased_viewers
from services.contracts.tables import ERASED_USERS, EVENTS, FILES_EPOCH, LOADED_FILES
from services.importer.file_events import partition_of, to_arrow
from services.importer.ratings_file import RatingsBlock

INSERT_ROWS = 200_000
"""An insert has at least as many, the last one excepted."""


@dataclass(frozen=True)
class Stored:
    """How many ratings a file has, and how many of them were left out because their viewer is erased."""

    rows: int
    erased: int


def rows_when_complete(postgres: Connection[Any], clickhouse: Client, digest: bytes) -> int | None:
    """Return the file's number of rows if all of them are stored, else None."""
    with postgres.transaction():
        found = postgres.execute(
            sql.SQL("SELECT rows, coalesce(rewritten_from, sha256) FROM {} WHERE sha256 = %s").format(
                sql.Identifier(LOADED_FILES)
            ),
            (digest.hex(),),
        ).fetchone()
    if found is None:
        return None
    # If ClickHouse was emptied and PostgreSQL was not, load again.
    stored = clickhouse.query(
        f"SELECT uniqExact(offset) FROM {EVENTS} WHERE epoch = {{epoch:UInt64}} AND partition = {{partition:UInt64}}",  # noqa: S608
        parameters={"epoch": FILES_EPOCH, "partition": partition_of(bytes.fromhex(found[1]))},
    ).result_rows[0][0]
    rows = int(found[0])
    complete = stored == rows or (stored > 0 and len(_erased_users(postgres, clickhouse)) > 0)
    return rows if complete else None


def store(
    postgres: Connection[Any],
    clickhouse: Client,
    blocks: Iterable[RatingsBlock],
    *,
    digest: bytes,
    name: str,
    source: str,
) -> Stored:
    """Insert the blocks, then note the file as complete. Safe to repeat.

    Ratings of erased viewers are left out. Each insert is acknowledged, and so on disk, before the next.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses; inserts before are stored.
        psycopg.Error: all blocks are stored, but the file is not noted.
        Exception: whatever ``blocks`` raises; inserts before are stored.
    """
    erased = _erased_users(postgres, clickhouse)
    rows = left_out = 0
    waiting: list[Any] = []

    def insert() -> None:
        # Insert again even what ClickHouse has seen: a crash may have come between the table and its view.
        clickhouse.insert_arrow(EVENTS, pa.concat_tables(waiting), settings={"insert_deduplicate": 0})
        waiting.clear()

    for block in blocks:
        kept = ~np.isin(block.user_id, erased)
        table = to_arrow(block, digest, source)
        waiting.append(table if kept.all() else table.filter(kept))
        rows += len(block)
        left_out += len(block) - int(kept.sum())
        if sum(map(len, waiting)) >= INSERT_ROWS:
            insert()
    if any(map(len, waiting)):
        insert()
    with postgres.transaction():
        postgres.execute(
            sql.SQL(
                "INSERT INTO {} (sha256, name, rows) VALUES (%s, %s, %s)"
                " ON CONFLICT (sha256) DO UPDATE SET rows = excluded.rows, rewritten_from = NULL"
            ).format(sql.Identifier(LOADED_FILES)),
            (digest.hex(), name, rows),
        )
    return Stored(rows, left_out)


def note_rewritten(postgres: Connection[Any], old: bytes, new: bytes, lines_less: int) -> None:
    """Note that the content ``new`` is ``old`` without some lines: what is stored of ``old`` is all that it holds.

    Nothing is noted when ``old`` was never stored. Repeatable.
    """
    with postgres.transaction():
        postgres.execute(
            sql.SQL(
                "INSERT INTO {files} (sha256, name, rows, rewritten_from)"
                " SELECT %s, name, greatest(rows - %s, 0), coalesce(rewritten_from, sha256) FROM {files}"
                " WHERE sha256 = %s ON CONFLICT DO NOTHING"
            ).format(files=sql.Identifier(LOADED_FILES)),
            (new.hex(), lines_less, old.hex()),
        )


def _erased_users(postgres: Connection[Any], clickhouse: Client) -> NDArray[np.int64]:
    """Return the viewers erased in either store: one may have been down during the erasure."""
    rows = clickhouse.query(f"SELECT DISTINCT user_id FROM {ERASED_USERS}").result_rows  # noqa: S608
    return np.array(sorted({int(row[0]) for row in rows} | erased_viewers(postgres)), np.int64)

"""Loads a MovieLens data set: films and users into PostgreSQL, ratings as events into ClickHouse. Safe to run again."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from clickhouse_connect.driver.client import Client
from psycopg import Connection, sql
from tqdm import tqdm

from services.contracts.tables import ERASED_USERS, ITEMS, USERS
from services.importer import ratings_file
from services.importer.catalogue import read_titles
from services.importer.file_store import Stored, rows_when_complete, store
from services.importer.movielens import Film, MovieLens, Person, open_movielens
from services.importer.movielens_tables import MovieLensError, open_regular
from services.importer.rating_rules import Rules
from services.importer.ratings_file import Checked, RatingsBlock
from services.importer.text_file import FileChangedError

log = logging.getLogger(__name__)

SOURCE = "movielens"
"""The events' source."""
DIFFERING_TITLES = 0.1
"""A greater share of different titles, among the ids in common, makes two catalogues different data sets."""


@dataclass(frozen=True)
class Loaded:
    """The result of a load; ``new_ratings`` is 0 if the file was loaded before."""

    films: int
    users: int
    ratings: int
    new_ratings: int
    merged_rows: int
    """Rows that repeated another one, in all files."""
    erased_ratings: int
    """New ratings that were left out because their viewer is erased."""
    latin1_lines: int
    """Lines that were not UTF-8, and read as Windows-1252."""


def load(directory: Path, postgres: Connection[Any], clickhouse: Client, now: datetime) -> Loaded:
    """Load the data set in ``directory``; a second run changes nothing and takes as long as reading the file once.

    Everything is checked before anything is written. Films and users are updated in place, in one transaction.
    Ratings stream in blocks; ``now`` tells which are of the future.

    Raises:
        MovieLensError: PostgreSQL holds the catalogue of another data set, whose ids mean other films; or
            the files are not valid; nothing is written then. Or the ratings changed while they were loaded: load again.
    """
    data = open_movielens(directory)
    log.info("loading %s (%s form): %d films, %d users", directory, data.form, len(data.films), len(data.users))
    titles = read_titles(postgres)
    refuse_another_catalogue(data.films, titles)
    rules = Rules({film.item_id for film in data.films} | titles.keys(), now)
    with open_regular(data.ratings) as file:
        checked = ratings_file.check(file, data.layout, rules)
        if checked.problems:
            problem = checked.problems[0]
            more = f" (and {checked.bad_lines - 1} more bad lines)" if checked.bad_lines > 1 else ""
            raise MovieLensError(f"{data.ratings}, line {problem.line}: {problem.reason}{more}")
        latin1 = data.latin1_lines + checked.latin1_lines
        merged = data.merged_rows + len(checked.duplicates)
        if latin1 or merged:
            log.warning(
                "%s: %d lines were not UTF-8 and were read as Windows-1252, %d duplicate rows",
                directory, latin1, merged,
            )  # fmt: skip
        with postgres.transaction():
            refuse_another_catalogue(data.films, read_titles(postgres))
            _upsert(postgres, ITEMS, "item_id", _film_rows(data.films))
            _upsert(postgres, USERS, "user_id", _person_rows(data.users))
            _forget_the_erased(postgres)
        stored, new = _load_ratings(data, file, checked, postgres, clickhouse)
    if stored.erased:
        log.warning("%d ratings of erased viewers were left out", stored.erased)
    return Loaded(len(data.films), len(data.users), stored.rows, new, merged, stored.erased, latin1)


def refuse_another_catalogue(films: Sequence[Film], known: Mapping[int, str]) -> None:
    """Ids of one release mean other films in another: loading both would mix them up for good.

    A corrected title here and there is the same catalogue; more than one title in ten is not.

    Raises:
        MovieLensError: naming one film as it is known and as the files have it.
    """
    shared = [film for film in films if film.item_id in known]
    differing = [film for film in shared if film.title != known[film.item_id]]
    if len(differing) > len(shared) * DIFFERING_TITLES:
        film = differing[0]
        raise MovieLensError(
            f"PostgreSQL holds another data set: film {film.item_id} is {known[film.item_id]!r} there and"
            f" {film.title!r} in the files; load it into empty stores (locally: make clean)"
        )


def _load_ratings(
    data: MovieLens, file: BinaryIO, checked: Checked, postgres: Connection[Any], clickhouse: Client
) -> tuple[Stored, int]:
    rows = rows_when_complete(postgres, clickhouse, checked.sha256)
    if rows is not None:
        log.info("%s was loaded before: %d ratings", data.ratings, rows)
        return Stored(rows, 0), 0
    blocks = _with_progress(ratings_file.blocks(file, checked, data.layout), checked.rows)
    try:
        stored = store(postgres, clickhouse, blocks, digest=checked.sha256, name=data.ratings.name, source=SOURCE)
    except FileChangedError as error:
        raise MovieLensError(f"{data.ratings}: {error}; load it again when it is complete") from error
    return stored, stored.rows - stored.erased


def _with_progress(blocks: Iterable[RatingsBlock], rows: int) -> Iterator[RatingsBlock]:
    with tqdm(total=rows, desc="ratings", unit=" rows", unit_scale=True, file=sys.stderr, mininterval=1) as bar:
        for block in blocks:
            yield block
            bar.update(len(block))


def _forget_the_erased(postgres: Connection[Any]) -> None:
    """Remove erased viewers' demographics, which loading a data set again would bring back."""
    postgres.execute(
        sql.SQL("DELETE FROM {users} USING {erased} WHERE {users}.user_id = {erased}.user_id").format(
            users=sql.Identifier(USERS), erased=sql.Identifier(ERASED_USERS)
        )
    )


def _film_rows(films: list[Film]) -> list[dict[str, Any]]:
    return [asdict(film) | {"genres": list(film.genres)} for film in films]


def _person_rows(users: list[Person]) -> list[dict[str, Any]]:
    return [asdict(user) for user in users]


def _upsert(connection: Connection[Any], table: str, key: str, rows: list[dict[str, Any]]) -> None:
    """COPY into a temporary table, then insert or update what differs; within the caller's transaction."""
    if not rows:
        return
    columns = list(rows[0])
    names = {"table": sql.Identifier(table), "staged": sql.Identifier(f"staged_{table}"), "key": sql.Identifier(key)}
    connection.execute(
        sql.SQL("CREATE TEMP TABLE {staged} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DROP").format(**names)
    )
    with connection.cursor().copy(
        sql.SQL("COPY {} ({}) FROM STDIN").format(names["staged"], _identifiers(columns))
    ) as copy:
        for row in rows:
            copy.write_row(list(row.values()))
    connection.execute(
        sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {staged} ON CONFLICT ({key}) DO UPDATE SET {sets}"
            " WHERE ({held}) IS DISTINCT FROM ({given})"
        ).format(
            **names,
            columns=_identifiers(columns),
            held=sql.SQL(", ").join(sql.Identifier(table, name) for name in columns),
            given=sql.SQL(", ").join(sql.Identifier("excluded", name) for name in columns),
            sets=sql.SQL(", ").join(
                sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in columns if name != key
            ),
        )
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))

"""Loads a MovieLens data set: films and users into PostgreSQL, ratings as events into ClickHouse. Safe to run again."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg import Connection, sql
from tqdm import tqdm

from services.contracts.tables import ERASED_USERS, ITEMS, USERS
from services.trainer.catalogue import read_titles
from services.trainer.file_store import rows_when_complete, store
from services.trainer.movielens import Film, MovieLens, Person, open_movielens
from services.trainer.ratings_file import MovieLensError, RatingsBlock, RatingsFile

log = logging.getLogger(__name__)

SOURCE = "movielens"
"""The events' source."""
DIFFERING_TITLES = 0.1
"""A greater share of the films that two catalogues share by id makes them different data sets."""


@dataclass(frozen=True)
class Loaded:
    """What a load did; ``new_ratings`` is 0 when the file was there already."""

    films: int
    users: int
    ratings: int
    new_ratings: int


def load(directory: Path, postgres: Connection[Any], clickhouse: Client) -> Loaded:
    """Load the data set in ``directory``; a second run changes nothing and takes as long as reading the file once.

    Films and users are updated in place. Ratings stream in blocks of `BLOCK_BYTES`.

    Raises:
        MovieLensError: PostgreSQL holds the catalogue of another data set, whose ids mean other films; or
            the files are not valid. Blocks before the bad row are stored; loading the
            corrected file makes a new set of events, and the later rating of a film wins as ever.
    """
    data = open_movielens(directory)
    log.info("loading %s (%s form): %d films, %d users", directory, data.form, len(data.films), len(data.users))
    with postgres.transaction():
        refuse_another_catalogue(data.films, read_titles(postgres))
        _upsert(postgres, ITEMS, "item_id", _film_rows(data.films))
        _upsert(postgres, USERS, "user_id", _person_rows(data.users))
        _forget_the_erased(postgres)
    ratings, new = _load_ratings(data, postgres, clickhouse)
    return Loaded(len(data.films), len(data.users), ratings, new)


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


def _load_ratings(data: MovieLens, postgres: Connection[Any], clickhouse: Client) -> tuple[int, int]:
    digest = data.ratings.sha256()
    rows = rows_when_complete(postgres, clickhouse, digest)
    if rows is not None:
        log.info("%s is loaded already: %d ratings", data.ratings.path, rows)
        return rows, 0
    rows = store(
        postgres, clickhouse, _with_progress(data.ratings), digest=digest, name=data.ratings.path.name, source=SOURCE
    )
    return rows, rows


def _with_progress(ratings: RatingsFile) -> Iterator[RatingsBlock]:
    with tqdm(
        total=ratings.count_rows(), desc="ratings", unit=" rows", unit_scale=True, file=sys.stderr, mininterval=1
    ) as bar:
        for block in ratings.blocks():
            yield block
            bar.update(len(block))


def _forget_the_erased(postgres: Connection[Any]) -> None:
    """A data set that is loaded again brings no erased viewer's demographics back."""
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

"""The catalogue: all films in memory for checks and lists; search uses PostgreSQL's trigram index."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
from pydantic import BaseModel

from services.common.postgres import Pool
from services.contracts.ids import ItemId
from services.contracts.rest import Item
from services.contracts.tables import CATALOGUE_VERSION, ITEMS
from services.inference.catalogue.films import Films
from services.inference.local_state import LocalState

log = logging.getLogger(__name__)

_CONFIRMED_FOR_SECONDS = 1.0
"""For this long after a look-up in PostgreSQL, films not in memory are unknown without another one; NOTIFY is
faster."""
_LOOK_UP_SECONDS = 1.0
"""How long a request waits for such a look-up."""
_READ_SECONDS = 20.0
_FILE = "films"
_NEVER = -1

_READ = f"SELECT item_id, title, year, genres FROM {ITEMS}"  # noqa: S608 (the tables' names are ours)
# Titles that start with the query first, then titles that contain it, then similar ones. Similarity is skipped for
# one or two letters: it means little, and comparing all titles with these letters would take a second.
_SEARCH = f"""
SELECT item_id, title, year, genres FROM {ITEMS}
WHERE search_text LIKE %(contains)s OR (length(%(query)s) > 2 AND %(query)s <%% search_text)
ORDER BY search_text LIKE %(starts)s OR search_text LIKE %(starts_as_spoken)s DESC, search_text LIKE %(contains)s DESC,
    CASE WHEN length(%(query)s) > 2 THEN word_similarity(%(query)s, search_text) END DESC, length(title), item_id
LIMIT %(k)s
"""  # noqa: S608


class _Kept(BaseModel):
    """The films, kept on disk for the replica's next start."""

    items: list[Item]


class Catalogue:
    """Reads PostgreSQL; the films in memory are replaced as a whole by `refresh`. Thread-safe."""

    def __init__(self, pool: Pool, state: LocalState) -> None:
        self._pool = pool
        self._state = state
        self._refreshing = threading.Lock()
        self._confirmed_at = float("-inf")
        self._looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="catalogue")
        self._joining = threading.Lock()
        self._look: Future[None] | None = None
        self._look_until = 0.0
        self.films: Films | None = None
        """All films; None: not read yet."""

    def __len__(self) -> int:
        """Return the number of films."""
        return 0 if self.films is None else len(self.films.items)

    def get(self, item_id: ItemId) -> Item | None:
        """Return the film, or None if it is not in memory."""
        return None if self.films is None else self.films.items.get(item_id)

    async def unknown(self, item_ids: Iterable[ItemId]) -> set[ItemId]:
        """Return the ids that are not films. Waits up to a second for PostgreSQL when one is not in memory.

        For any number of callers there is one look-up at a time, at most one per second, and no thread waits for it.

        Raises:
            psycopg.OperationalError: PostgreSQL does not answer. To treat the film as unknown would lose its event.
        """
        wanted = set(item_ids)
        missing = {item_id for item_id in wanted if self.get(item_id) is None}
        if missing and time.monotonic() - self._confirmed_at > _CONFIRMED_FOR_SECONDS:
            look, seconds = self._join()
            try:
                await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(look)), seconds)
            except (psycopg.Error, TimeoutError) as error:
                raise psycopg.OperationalError("the catalogue cannot be read") from error
            missing = {item_id for item_id in wanted if self.get(item_id) is None}
        return missing

    def _join(self) -> tuple[Future[None], float]:
        """Return the running look-up, started if there is none, and how long to wait for it."""
        with self._joining:
            if self._look is None or self._look.done():
                self._look = self._looking.submit(self.refresh)
                self._look_until = time.monotonic() + _LOOK_UP_SECONDS
            return self._look, max(0.0, self._look_until - time.monotonic())

    def refresh(self) -> None:
        """Read all films again if any has changed; otherwise read one row. Blocks.

        Raises:
            psycopg.Error: PostgreSQL does not answer (`psycopg_pool.PoolTimeout` is one), or has no such table yet.
        """
        with self._refreshing:
            asked = time.monotonic()
            with self._pool.connection() as connection:
                version = _version(connection)
            if self.films is None or self.films.version != version:
                with self._pool.connection(seconds=_READ_SECONDS) as connection, connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    version = _version(connection)
                    items = [_item(row) for row in connection.execute(_READ).fetchall()]
                self.films = _films(items, version)
                log.info("the catalogue was read", extra={"films": len(items), "catalogue_version": version})
                self._state.write(_FILE, _Kept(items=items))
            self._confirmed_at = asked

    def read_kept(self) -> None:
        """Load the films that an earlier process kept, until PostgreSQL answers; does nothing if films are loaded."""
        if self.films is None and (kept := self._state.read(_FILE, _Kept)) is not None:
            with self._refreshing:
                if self.films is None:
                    self.films = _films(kept.items, _NEVER)

    def search(self, query: str, k: int) -> list[Item]:
        """Return the ``k`` films whose titles match best: containing the query or resembling it (typos). Blocks.

        Accents, case and the position of an article ("The Matrix", "Matrix, The") do not matter.

        Raises:
            psycopg.OperationalError: PostgreSQL does not answer.
        """
        with self._pool.connection() as connection:
            (text,) = connection.execute("SELECT searchable(%s)", (query.strip(),)).fetchone()
            literal = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
            values = {
                "query": text,
                "starts": f"{literal}%",
                "starts_as_spoken": f"%\n{literal}%",
                "contains": f"%{literal}%",
                "k": k,
            }
            return [_item(row) for row in connection.execute(_SEARCH, values).fetchall()]

    def close(self) -> None:
        """Stop the look-up thread."""
        self._looking.shutdown()


def _version(connection: Any) -> int:
    (version,) = connection.execute(f"SELECT version FROM {CATALOGUE_VERSION}").fetchone()  # noqa: S608
    return int(version)


def _films(items: list[Item], version: int) -> Films:
    return Films({item.id: item for item in items}, version)


def _item(row: tuple[Any, ...]) -> Item:
    return Item(id=row[0], title=row[1], year=row[2], genres=row[3])

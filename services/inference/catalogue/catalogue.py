"""The catalogue: all films in memory for checks and lists, PostgreSQL's trigram index for the search."""

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
"""So long after a look at PostgreSQL a film that is not in memory is unknown without another; NOTIFY is faster."""
_LOOK_UP_SECONDS = 1.0
"""So long a request waits for such a look."""
_READ_SECONDS = 20.0
_FILE = "films"
_NEVER = -1

_READ = f"SELECT item_id, title, year, genres FROM {ITEMS}"  # noqa: S608 (the tables' names are ours)
# Whole or starting matches first, then titles that contain the query, then those that only resemble it. One or two
# letters resemble nothing, and to compare them with all the titles that they are in would take a second.
_SEARCH = f"""
SELECT item_id, title, year, genres FROM {ITEMS}
WHERE search_text LIKE %(contains)s OR (length(%(query)s) > 2 AND %(query)s <%% search_text)
ORDER BY search_text LIKE %(starts)s OR search_text LIKE %(starts_as_spoken)s DESC, search_text LIKE %(contains)s DESC,
    CASE WHEN length(%(query)s) > 2 THEN word_similarity(%(query)s, search_text) END DESC, length(title), item_id
LIMIT %(k)s
"""  # noqa: S608


class _Kept(BaseModel):
    """The films as a replica keeps them for its next start."""

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
        """All films; None: they have never been read."""

    def __len__(self) -> int:
        """Return the number of films."""
        return 0 if self.films is None else len(self.films.items)

    def get(self, item_id: ItemId) -> Item | None:
        """Return the film, or None: it is not in memory."""
        return None if self.films is None else self.films.items.get(item_id)

    async def unknown(self, item_ids: Iterable[ItemId]) -> set[ItemId]:
        """Return which of the ids are no films. Waits up to a second for PostgreSQL when any is not in memory.

        However many ask, one look is under way at a time, at most one per second, and no thread waits for it.

        Raises:
            psycopg.OperationalError: it cannot be known now. To call a film unknown then would lose its event.
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
        """Return the look that is under way, started if there is none, and how long to wait for it."""
        with self._joining:
            if self._look is None or self._look.done():
                self._look = self._looking.submit(self.refresh)
                self._look_until = time.monotonic() + _LOOK_UP_SECONDS
            return self._look, max(0.0, self._look_until - time.monotonic())

    def refresh(self) -> None:
        """Read all films again if any has changed; otherwise it costs one row. Blocks.

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
        """Take the films that an earlier process kept, until PostgreSQL answers; does nothing where there are some."""
        if self.films is None and (kept := self._state.read(_FILE, _Kept)) is not None:
            with self._refreshing:
                if self.films is None:
                    self.films = _films(kept.items, _NEVER)

    def search(self, query: str, k: int) -> list[Item]:
        """Return the ``k`` films whose titles match best: containing the query or resembling it (typos). Blocks.

        Accents and upper case make no difference, nor does it matter where an article stands.

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
        """End the thread that looks films up."""
        self._looking.shutdown()


def _version(connection: Any) -> int:
    (version,) = connection.execute(f"SELECT version FROM {CATALOGUE_VERSION}").fetchone()  # noqa: S608
    return int(version)


def _films(items: list[Item], version: int) -> Films:
    return Films({item.id: item for item in items}, version)


def _item(row: tuple[Any, ...]) -> Item:
    return Item(id=row[0], title=row[1], year=row[2], genres=row[3])

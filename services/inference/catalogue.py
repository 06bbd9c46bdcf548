"""The films: all of them in memory for checks and lists, PostgreSQL's trigram index for the search."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from services.contracts.ids import ItemId
from services.contracts.rest import Item
from services.contracts.tables import ITEMS

_REFRESH_AT_MOST_EVERY_SECONDS = 5.0

# Whole or starting matches first, then titles that contain the query, then those that only resemble it.
_SEARCH = f"""
SELECT item_id, title, year, genres FROM {ITEMS}
WHERE lower(title) LIKE %(contains)s OR %(query)s <%% lower(title)
ORDER BY lower(title) LIKE %(starts)s DESC, lower(title) LIKE %(contains)s DESC,
    word_similarity(%(query)s, lower(title)) DESC, length(title), item_id
LIMIT %(k)s
"""  # noqa: S608 (the table's name is ours)


class Catalogue:
    """Reads PostgreSQL; the films in memory are replaced as a whole by `refresh`. Thread-safe."""

    def __init__(self, pool: ConnectionPool[Any]) -> None:
        self._pool = pool
        self._items: Mapping[ItemId, Item] = {}
        self._genres: frozenset[str] = frozenset()
        self._refreshing = threading.Lock()
        self._refreshed_at = float("-inf")

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self._items)

    def get(self, item_id: ItemId) -> Item | None:
        """Return the film, or None."""
        return self._items.get(item_id)

    def has_genre(self, name: str) -> bool:
        """Return whether any film has the genre."""
        return name in self._genres

    def named(self, item_id: ItemId) -> Item:
        """Return the film; one that has left the catalogue still shows up in histories, by its number."""
        return self._items.get(item_id) or Item(id=item_id, title=f"Film {item_id}", genres=[])

    def unknown(self, item_ids: Iterable[ItemId]) -> set[ItemId]:
        """Return which of the ids are no films. Blocks for a query, at most once in 5 s, when any seems to be.

        Raises:
            psycopg.OperationalError: it cannot be known now. To call a film unknown then would lose its event.
        """
        wanted = set(item_ids)
        missing = wanted - self._items.keys()
        if missing and time.monotonic() - self._refreshed_at > _REFRESH_AT_MOST_EVERY_SECONDS:
            try:
                self.refresh()
            except psycopg.Error as error:
                raise psycopg.OperationalError("the catalogue cannot be read") from error
            missing = wanted - self._items.keys()
        return missing

    def refresh(self) -> None:
        """Read all films again.

        Raises:
            psycopg.Error: PostgreSQL does not answer (`psycopg_pool.PoolTimeout` is one), or has no such table yet.
        """
        with self._refreshing, self._pool.connection() as connection:
            rows = connection.execute(f"SELECT item_id, title, year, genres FROM {ITEMS}").fetchall()  # noqa: S608
            self._refreshed_at = time.monotonic()
            items = {ItemId(row[0]): _item(row) for row in rows}
            self._genres = frozenset(genre for item in items.values() for genre in item.genres)
            self._items = items

    def search(self, query: str, k: int) -> list[Item]:
        """Return the ``k`` films whose titles match best: containing the query or resembling it (typos). Blocks.

        Raises:
            psycopg.Error: PostgreSQL does not answer.
        """
        text = query.strip().lower()
        literal = text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
        values = {"query": text, "starts": f"{literal}%", "contains": f"%{literal}%", "k": k}
        with self._pool.connection() as connection:
            return [_item(row) for row in connection.execute(_SEARCH, values).fetchall()]


def _item(row: tuple[Any, ...]) -> Item:
    return Item(id=row[0], title=row[1], year=row[2], genres=row[3])

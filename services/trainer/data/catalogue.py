"""The films' genres, from PostgreSQL."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from services.contracts.tables import ITEMS


def read_genres(connection: Connection[Any]) -> dict[int, tuple[str, ...]]:
    """Return each film's genres."""
    with connection.transaction():
        rows = connection.execute(sql.SQL("SELECT item_id, genres FROM {}").format(sql.Identifier(ITEMS))).fetchall()
    return {int(item_id): tuple(genres) for item_id, genres in rows}


def genre_matrix(
    item_ids: NDArray[np.int64], genres_of: Mapping[int, tuple[str, ...]]
) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the genres' names, ascending, and (items, genres) with 1 where an item has the genre.

    Films that are not in the catalogue have none.

    >>> names, matrix = genre_matrix(np.array([1, 2]), {1: ("War", "Drama"), 2: ("Drama",)})
    >>> names, matrix.tolist()
    (['Drama', 'War'], [[1, 1], [1, 0]])
    """
    known = [genres_of.get(int(item), ()) for item in item_ids]
    names = sorted({name for genres in known for name in genres})
    column = {name: position for position, name in enumerate(names)}
    matrix = np.zeros((len(item_ids), len(names)), np.uint8)
    for row, genres in enumerate(known):
        matrix[row, [column[name] for name in genres]] = 1
    return names, matrix

"""The films' years and genres, from PostgreSQL; kept with the extract."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, sql

from services.contracts.tables import ITEMS
from services.models.viewer import indices_of


@dataclass(frozen=True)
class Catalogue:
    """All films, whether anybody likes them or not."""

    item_ids: NDArray[np.int64]
    """(c,) ascending."""
    years: NDArray[np.int16]
    """(c,) of release; 0: unknown."""
    genres: list[str]
    """g names, ascending."""
    has_genre: NDArray[np.uint8]
    """(c, g) 0 or 1."""

    def years_of(self, item_ids: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the films' years; 0 where unknown.

        >>> catalogue_of({3: (1999, ()), 4: (None, ())}).years_of(np.array([4, 3, 5])).tolist()
        [0, 1999, 0]
        """
        found, known = self._find(item_ids)
        result = np.zeros(len(item_ids), np.int16)
        result[known] = self.years[found[known]]
        return result

    def genres_of(self, item_ids: NDArray[np.int64]) -> tuple[list[str], NDArray[np.uint8]]:
        """Return the genres that any of the films has, ascending, and (films, genres) with 1 where a film has one.

        Films that are not in the catalogue have none.

        >>> both = catalogue_of({1: (None, ("War", "Drama")), 2: (None, ("Drama",)), 3: (None, ("Comedy",))})
        >>> names, matrix = both.genres_of(np.array([1, 2]))
        >>> names, matrix.tolist()
        (['Drama', 'War'], [[1, 1], [1, 0]])
        """
        found, known = self._find(item_ids)
        matrix = np.zeros((len(item_ids), len(self.genres)), np.uint8)
        matrix[known] = self.has_genre[found[known]]
        present = np.flatnonzero(matrix.any(axis=0))
        return [self.genres[column] for column in present], matrix[:, present]

    def save(self, directory: Path) -> None:
        """Write the arrays as ``.npy`` files."""
        directory.mkdir(parents=True, exist_ok=True)
        for name in ("item_ids", "years", "has_genre"):
            np.save(directory / f"{name}.npy", getattr(self, name), allow_pickle=False)
        np.save(directory / "genres.npy", np.array(self.genres, np.str_), allow_pickle=False)

    @classmethod
    def open(cls, directory: Path) -> "Catalogue":
        """Read what `save` wrote."""
        read = {
            name: np.load(directory / f"{name}.npy", allow_pickle=False)
            for name in ("item_ids", "years", "has_genre", "genres")
        }
        return cls(read["item_ids"], read["years"], [str(name) for name in read["genres"]], read["has_genre"])

    def _find(self, item_ids: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        if not len(self.item_ids):
            return np.zeros(len(item_ids), np.intp), np.zeros(len(item_ids), bool)
        return indices_of(self.item_ids, item_ids)


def catalogue_of(films: dict[int, tuple[int | None, tuple[str, ...]]]) -> Catalogue:
    """Return the catalogue of films given as year and genres by id."""
    ids = sorted(films)
    names = sorted({name for _, genres in films.values() for name in genres})
    column = {name: position for position, name in enumerate(names)}
    has_genre = np.zeros((len(ids), len(names)), np.uint8)
    for row, item in enumerate(ids):
        has_genre[row, [column[name] for name in films[item][1]]] = 1
    years = np.array([films[item][0] or 0 for item in ids], np.int16)
    return Catalogue(np.array(ids, np.int64), years, names, has_genre)


NO_CATALOGUE = catalogue_of({})
"""Without a catalogue: no years, no genres."""


def read_catalogue(connection: Connection[Any]) -> Catalogue:
    """Return the films in PostgreSQL."""
    query = sql.SQL("SELECT item_id, year, genres FROM {}").format(sql.Identifier(ITEMS))
    with connection.transaction():
        rows = connection.execute(query).fetchall()
    return catalogue_of({int(item_id): (year, tuple(genres)) for item_id, year, genres in rows})

"""The films that may be shown: those of the catalogue, in the order of the models' indices."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.inference.catalogue.films import Films
from services.inference.models.served import ServedBundle


@dataclass(frozen=True, eq=False)
class Shelf:
    """A bundle's n films, then the m films that only the catalogue has, by id."""

    served: ServedBundle
    films: Films
    item_ids: NDArray[np.int64]
    """(n + m,)"""
    listed: NDArray[np.bool_] | None
    """(n,) which of the bundle's films are in the catalogue; None: all."""
    has_genre: NDArray[np.bool_]
    """(n + m, genres), by the catalogue's present genres."""

    def allowed(self, genre: int | None = None) -> NDArray[np.bool_] | None:
        """Return which of the bundle's films may be shown, of one genre if given; None: all."""
        return self.listed if genre is None else self.has_genre[: len(self.served.item_ids), genre]

    def unscored(self, genre: int | None = None) -> NDArray[np.intp]:
        """Return the indices of the films that the bundle does not have, of one genre if given, ascending."""
        known = len(self.served.item_ids)
        if genre is None:
            return np.arange(known, len(self.item_ids))
        return known + np.flatnonzero(self.has_genre[known:, genre])

    def shared_genres(self, genres: Sequence[str]) -> NDArray[np.float32]:
        """Return (n + m,) how many of ``genres`` each film has."""
        columns = [self.films.genre_index[name] for name in set(genres) if name in self.films.genre_index]
        result: NDArray[np.float32] = self.has_genre[:, columns].sum(axis=1, dtype=np.float32)
        return result


def shelf_of(served: ServedBundle, films: Films) -> Shelf:
    """Combine a bundle's films with the catalogue's; about 10 ms for 87,000 films."""
    known = np.isin(films.ids, served.item_ids, assume_unique=True)
    listed = np.isin(served.item_ids, films.ids, assume_unique=True)
    new = np.flatnonzero(~known)
    has_genre = np.zeros((len(served.item_ids) + len(new), len(films.genre_index)), bool)
    has_genre[: len(listed)][listed] = films.has_genre[known]  # both in the order of ids
    has_genre[len(listed) :] = films.has_genre[new]
    return Shelf(
        served=served,
        films=films,
        item_ids=np.concatenate([served.item_ids, films.ids[new]]),
        listed=None if listed.all() else listed,
        has_genre=has_genre,
    )

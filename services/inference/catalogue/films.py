"""A snapshot of the catalogue's films in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contracts.ids import ItemId
from services.contracts.rest import Item


@dataclass(frozen=True, eq=False)
class Films:
    """All n films; immutable, replaced as a whole. Compared by identity."""

    items: Mapping[ItemId, Item]
    version: int
    """The version of the catalogue; every change increases it."""
    ids: NDArray[np.int64] = field(init=False)
    """(n,) ascending."""
    genre_index: Mapping[str, int] = field(init=False)
    """Column of each genre that a film has, by name."""
    has_genre: NDArray[np.bool_] = field(init=False)
    """(n, genres)."""

    def __post_init__(self) -> None:
        ids = np.array(sorted(self.items), np.int64)
        names = sorted({name for item in self.items.values() for name in item.genres})
        genre_index = {name: column for column, name in enumerate(names)}
        places = [(row, genre_index[name]) for row, id_ in enumerate(ids.tolist()) for name in self.items[id_].genres]
        has_genre = np.zeros((len(ids), len(names)), bool)
        if places:
            has_genre[tuple(np.array(places).T)] = True
        for name, value in (("ids", ids), ("genre_index", genre_index), ("has_genre", has_genre)):
            object.__setattr__(self, name, value)

    def named(self, item_id: ItemId) -> Item:
        """Return the film, or a placeholder for one that has left the catalogue but is still in histories."""
        gone = f"Film {item_id} (no longer in the catalogue)"
        return self.items.get(item_id) or Item(id=item_id, title=gone, genres=[])

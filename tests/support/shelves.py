"""Shelves for tests: a bundle's films beside a catalogue that may have lost some and got others."""

from collections.abc import Collection, Mapping

from services.contracts.ids import ItemId
from services.contracts.rest import Item
from services.inference.catalogue.films import Films
from services.inference.models.served import ServedBundle
from services.inference.recommend.shelf import Shelf, shelf_of
from tests.support.bundles import GENRES


def shelf(
    served: ServedBundle, *, gone: Collection[int] = (), new: int = 0, genres: Mapping[int, str] | None = None
) -> Shelf:
    """The films of `make_bundle` without those gone and with new ones; genres as in the bundle unless given."""
    names = {i: (genres or {}).get(i, GENRES[(i + 1) % 2]) for i in range(1, 41 + new) if i not in gone}
    return shelf_of(served, Films({ItemId(i): Item(id=ItemId(i), title="", genres=[g]) for i, g in names.items()}, 1))

"""A list of similar films states its basis: the model, popular films of the same genres, or popularity alone."""

from pathlib import Path

import pytest

from services.common.bundle import open_bundle, write_bundle
from services.contracts.ids import ItemId
from services.contracts.rest import Basis, Item
from services.inference.models.served import ServedBundle, load_served
from services.inference.recommend.pipeline import similar
from tests.support.bundles import CREATED, make_bundle
from tests.support.shelves import shelf


@pytest.fixture
def model(tmp_path: Path) -> ServedBundle:
    return load_served(make_bundle(tmp_path), "champion", CREATED)


def film(number: int, *genres: str) -> Item:
    return Item(id=ItemId(number), title="A film", genres=list(genres))


@pytest.mark.parametrize(
    ("asked", "basis", "first"),
    [
        (film(5, "Action"), Basis.SAME_VIEWERS, None),
        (film(42, "Comedy"), Basis.SAME_GENRES, [2, 4]),
        (film(42, "Western", "Comedy"), Basis.SAME_GENRES, [2, 4]),
        (film(42, "Western"), Basis.POPULAR, [1, 2]),
        (film(42), Basis.POPULAR, [1, 2]),
    ],
)
def test_the_basis_is_what_ordered_the_list(
    model: ServedBundle, asked: Item, basis: Basis, first: list[int] | None
) -> None:
    ranked, made_by = similar(shelf(model), asked, 2)
    assert made_by is basis
    assert first is None or model.item_ids[ranked.indices].tolist() == first


def test_for_a_film_without_learned_factors_the_basis_is_its_genres(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    factors = bundle.models["als"]["item_factors"].copy()
    factors[1] = 0  # film 2, a comedy
    als = {**bundle.models["als"], "item_factors": factors}
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    path = write_bundle(tmp_path, manifest, bundle.arrays, {**bundle.models, "als": als})
    model = load_served(open_bundle(path), "champion", CREATED)
    ranked, basis = similar(shelf(model), film(2, "Comedy"), 2)
    assert basis is Basis.SAME_GENRES
    assert model.item_ids[ranked.indices].tolist() == [4, 6], "itself left out"

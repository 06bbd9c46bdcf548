"""What each kind of model promises, on models that can be checked by hand."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from services.common.bundle import Arrays, BundleError
from services.contracts.bundle import ModelEntry
from services.models.base import Floats, History, Recommender
from services.models.kinds.blend import FEWEST_LIKES, standardised
from services.models.loader import fallback_scores, load_recommenders
from tests.support.histories import history

N = 4
SHARED: Arrays = {
    "item_ids": np.arange(1, N + 1, dtype=np.int64),
    "user_ids": np.array([1, 2], np.int64),
    "popularity": np.array([8, 4, 2, 1], np.float32),
    "popularity_recent": np.array([0, 1, 2, 3], np.float32),
    "item_genres": np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.uint8),
}
WEIGHTS = np.array([[0, 2, 1, 0], [2, 0, 0, 0], [1, 0, 0, 3], [0, 0, 3, 0]], np.float32)
ALL = np.arange(N, dtype=np.int64)
GROUPS: dict[str, Any] = {
    "base": np.log(np.array([4, 3, 2, 1], np.float32)),
    "lifts": np.array([[0, 0, 0, 5], [1, 0, 0, 0]], np.float32),
    "groups": np.array([[0, -1, -1], [-1, -1, -1]], np.int16),
}
KNN = {
    "neighbours": np.array([[1, 2], [0, 0], [0, 3], [2, 0]], np.int32),
    "similarities": np.array([[2, 1], [2, 0], [1, 3], [3, 0]], np.float32),
}
PERSONAL: dict[str, tuple[str, Mapping[str, Any], dict[str, Any]]] = {
    "als": ("als", {"item_factors": np.eye(N, dtype=np.float32)}, {"regularization": 1.0, "alpha": 3.0}),
    "ease": ("ease", {"weights": WEIGHTS, "covered": ALL}, {}),
    "item_knn": ("item_knn", KNN, {}),
}


def load(kind: str, arrays: Arrays, parameters: dict[str, Any] | None = None) -> Recommender:
    entry = ModelEntry(kind=kind, parameters=parameters or {})
    return load_recommenders({"it": entry}, {"it": arrays}, SHARED)["it"]


def scores(model: Recommender, viewer: History) -> list[float]:
    given = model.score(viewer)
    assert given is not None
    return [round(float(score), 4) for score in given]


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("boost", [0.0, 10.0])
def test_contributions_of_a_like_add_up_to_the_score(name: str, boost: float) -> None:
    kind, arrays, parameters = PERSONAL[name]
    model = load(kind, arrays, parameters | {"recency_boost": boost})
    viewer = history([0, 1, 3], [1, -1, 2])
    given = model.score(viewer)
    assert given is not None
    for film in range(N):
        parts = model.contributions(viewer, film)
        assert parts is not None
        assert parts[1] == 0, "a dislike adds nothing"
        assert float(parts.sum()) == pytest.approx(float(given[film]), abs=1e-5)


@pytest.mark.parametrize("name", PERSONAL)
def test_without_a_liked_film_of_the_bundle_there_are_no_scores(name: str) -> None:
    kind, arrays, parameters = PERSONAL[name]
    model = load(kind, arrays, parameters)
    assert model.score(history([])) is None
    assert model.score(history([0], [-1])) is None
    assert model.score(history([0], known=[False])) is None


@pytest.mark.parametrize("name", ["ease", "item_knn"])
def test_the_latest_like_counts_most(name: str) -> None:
    kind, arrays, _ = PERSONAL[name]
    model = load(kind, arrays, {"recency_boost": 10.0, "recency_decay": 0.5})
    # The weight of film 0's like is 1 + 10 · ½ = 6, as one like came later; of film 3's 1 + 10 = 11.
    assert scores(model, history([0, 3])) == [0, 12, 6 + 33, 0]
    assert scores(model, history([3, 0])) == [0, 22, 11 + 18, 0]


def test_ease_scores_the_films_that_it_does_not_cover_with_0() -> None:
    model = load("ease", {"weights": WEIGHTS[:2, :2], "covered": np.array([0, 2])})
    assert scores(model, history([0])) == [0, 0, 2, 0]
    assert scores(model, history([0, 1])) == [0, 0, 2, 0]
    assert model.score(history([1, 3])) is None
    assert model.similar(1) is None
    unexplained = model.contributions(history([0]), 1)
    assert unexplained is not None
    assert not unexplained.any()


def test_popularity_has_the_counts_of_its_window_or_else_the_shared_ones() -> None:
    recent = load("popular", {"counts": np.array([0, 0, 3, 1], np.float32)})
    overall = load("popular", {})
    assert scores(overall, history([])) == [8, 4, 2, 1]
    assert fallback_scores({"popular_recent": recent}, SHARED["popularity"]).tolist() == [0, 0, 3, 1]
    assert fallback_scores({"popular": overall}, SHARED["popularity"]).tolist() == [8, 4, 2, 1]


def test_popularity_by_genre_is_that_of_the_viewers_genres() -> None:
    model = load("popular_by_genre", {})
    assert scores(model, history([0])) == [0, 1000, 0, 0]
    assert scores(model, history([2])) == [0, 0, 400, 600]
    assert scores(model, history([0, 2])) == [0, 500, 200, 300]
    assert model.score(history([])) is None


def test_popularity_by_group_is_popularity_for_viewers_of_whom_nothing_is_known() -> None:
    model = load("popular_by_group", GROUPS)
    assert np.argsort(scores(model, history([], user_id=1)))[-1] == 3
    assert scores(model, history([], user_id=2)) == scores(model, history([], user_id=99))
    assert np.argsort(scores(model, history([], user_id=2)))[-1] == 0


class Fixed:
    """Scores given by a test, or none."""

    def __init__(self, given: Floats | None) -> None:
        self._given = given

    def score(self, viewer: History) -> Floats | None:
        return self._given


def test_standardised_scores_have_mean_0_and_deviation_1_unless_all_are_equal() -> None:
    given = standardised(np.array([1, 2, 6], np.float32))
    assert float(given.mean()) == pytest.approx(0, abs=1e-6)
    assert float(given.std()) == pytest.approx(1, abs=1e-6)
    assert standardised(np.full(3, 5, np.float32)).tolist() == [0, 0, 0]


def blend(weights: Floats) -> Recommender:
    entries = {
        "ease": ModelEntry(kind="ease"),
        "popular": ModelEntry(kind="popular"),
        "blend": ModelEntry(kind="blend", parameters={"models": ["ease", "popular"]}, uses=["ease", "popular"]),
    }
    own = {"ease": PERSONAL["ease"][1], "popular": {}, "blend": {"weights": weights}}
    return load_recommenders(entries, own, SHARED)["blend"]


def test_a_blend_has_weights_for_each_amount_of_history() -> None:
    weights = np.zeros((len(FEWEST_LIKES), 2), np.float32)
    weights[0], weights[1], weights[2] = (0, 1), (0, 1), (1, 0)
    model = blend(weights)
    popular = standardised(np.log1p(SHARED["popularity"]))
    for viewer in (history([]), history([0]), history([0, 1])):
        assert np.allclose(scores(model, viewer), popular, atol=1e-4)
    assert np.allclose(scores(model, history([0, 1, 3])), standardised(WEIGHTS[[0, 1, 3]].sum(axis=0)), atol=1e-4)


def test_a_blend_without_weights_for_its_models_is_refused() -> None:
    with pytest.raises(BundleError, match=r"^model blend: weights \(3, 2\) are not for 7 amounts"):
        blend(np.ones((3, 2), np.float32))


STARS: dict[str, Any] = {
    "item_base": np.array([3, 4, 2, 1], np.float32),
    "item_factors": np.array([[1], [1], [-1], [0]], np.float32),
    "item_variance": np.zeros((N, 1), np.float32),
    "viewer_precision": np.eye(2),
    "calibration": np.array([0.0, 1.0]),
}


def test_stars_are_the_films_means_for_viewers_without_ratings_and_follow_the_ratings_of_others() -> None:
    model = load("stars", STARS)
    nothing, known = scores(model, history([])), scores(model, history([0, 2], stars=[5, np.nan]))
    assert nothing == scores(model, history([1])) == [3, 4, 2, 1]
    # (1 + z zᵀ) x = 2 z with z = (1, 1): both the bias and the factor are 2 / 3.
    assert known == pytest.approx([3 + 4 / 3, 5, 2, 1 + 2 / 3], abs=1e-3)
    with pytest.raises(BundleError, match=r"^model it: item_variance has negative values"):
        load("stars", STARS | {"item_variance": -np.ones((N, 1), np.float32)})


@pytest.mark.parametrize(
    ("kind", "arrays", "message"),
    [
        ("ease", {"weights": WEIGHTS, "covered": ALL[:3]}, r"weights \(4, 4\) are not for 3 covered items"),
        ("ease", {"weights": WEIGHTS, "covered": ALL + 1}, "covered is not ascending indices of 4 items"),
        ("ease", {"weights": WEIGHTS, "covered": ALL[::-1].copy()}, "covered is not ascending"),
        ("ease", {"covered": ALL}, "weights is missing; there are"),
        ("ease", {"weights": WEIGHTS * np.nan, "covered": ALL}, "weights has values that are not finite"),
        ("item_knn", KNN | {"neighbours": KNN["neighbours"] + 1}, "neighbours are not indices of 4 items"),
        ("item_knn", KNN | {"similarities": KNN["similarities"][:3]}, "4 items"),
        ("popular", {"counts": np.ones(3, np.float32)}, r"counts \(3,\) are not for 4 items"),
        ("popular_by_group", GROUPS | {"groups": GROUPS["groups"] + 2}, "groups name 2, there are 2"),
        ("popular_by_group", GROUPS | {"base": GROUPS["base"][:3]}, "4 items, 2 users"),
    ],
)
def test_arrays_that_are_not_the_kinds_are_refused_in_words(kind: str, arrays: Arrays, message: str) -> None:
    with pytest.raises(BundleError, match=f"^model it: .*{message}"):
        load(kind, arrays)


def test_models_that_use_each_other_in_a_circle_are_refused() -> None:
    entries = {name: ModelEntry(kind="blend", uses=[other]) for name, other in (("one", "two"), ("two", "one"))}
    with pytest.raises(BundleError, match="models use each other in a circle: "):
        load_recommenders(entries, {"one": {}, "two": {}}, SHARED)
    with pytest.raises(BundleError, match="model one uses nobody, which the bundle does not have"):
        load_recommenders({"one": ModelEntry(kind="blend", uses=["nobody"])}, {"one": {}}, SHARED)

"""Stars that can be worked out by hand, and the laws of folding in a history."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.models.stars import StarPredictor

ITEMS, FACTORS = 6, 2
SCALE = [half / 2 for half in range(1, 11)]


def arrays(**changed: Any) -> dict[str, NDArray[Any]]:
    """Three films with one factor: a viewer who likes film 0 dislikes film 1; film 2 says nothing of it."""
    plain: dict[str, NDArray[Any]] = {
        "item_base": np.array([3, 3, 4], np.float32),
        "item_factors": np.array([[1], [-1], [0]], np.float32),
        "item_variance": np.zeros((3, 1), np.float32),
        "viewer_precision": np.eye(2),
        "calibration": np.array([0.0, 1.0]),
    }
    return plain | changed


@st.composite
def models(draw: st.DrawFn) -> StarPredictor:
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    root = random.normal(size=(1 + FACTORS, 1 + FACTORS))
    return StarPredictor(
        {
            "item_base": random.uniform(1, 5, ITEMS).astype(np.float32),
            "item_factors": random.normal(size=(ITEMS, FACTORS)).astype(np.float32),
            "item_variance": random.uniform(0, 1, (ITEMS, FACTORS)).astype(np.float32),
            "viewer_precision": root @ root.T + np.eye(1 + FACTORS),
            "calibration": np.array([random.uniform(-2, 2), random.uniform(0.5, 2)]),
        }
    )


def histories(highest: float = 5.0) -> st.SearchStrategy[dict[int, float]]:
    stars = st.sampled_from([s for s in SCALE if s <= highest])
    return st.dictionaries(st.integers(0, ITEMS - 1), stars)


def test_without_ratings_every_film_gets_its_base() -> None:
    assert StarPredictor(arrays()).predict([], []).tolist() == [3, 3, 4]


def test_one_rating_is_folded_in_as_worked_out_by_hand() -> None:
    # Film 0, z = (1, 1), is rated 2 above its base: ([[1, 0], [0, 1]] + [[1, 1], [1, 1]]) x = (2, 2), x = (2/3, 2/3).
    predicted = StarPredictor(arrays()).predict([0], [5])
    assert predicted.tolist() == pytest.approx([3 + 4 / 3, 3, 4 + 2 / 3])


def test_an_uncertain_factor_counts_less() -> None:
    # [[2, 1], [1, 2 + 1]] x = (2, 2): x = (4/5, 2/5).
    unsure = arrays(item_variance=np.array([[1], [0], [0]], np.float32))
    assert StarPredictor(unsure).predict([0], [5]).tolist() == pytest.approx([4.2, 3.4, 4.8])


def test_a_film_without_learned_factors_moves_the_bias_alone() -> None:
    # Film 2 is rated 1 below its base: (1 + 1) b = -1.
    assert StarPredictor(arrays()).predict([2], [3]).tolist() == pytest.approx([2.5, 2.5, 3.5])


def test_predictions_are_calibrated_then_clipped() -> None:
    calibrated = StarPredictor(arrays(calibration=np.array([-5.0, 2.0])))
    assert calibrated.predict([], []).tolist() == [1, 1, 3]
    assert StarPredictor(arrays(calibration=np.array([3.0, 1.0]))).predict([], []).tolist() == [5, 5, 5]
    assert StarPredictor(arrays(calibration=np.array([-3.0, 1.0]))).predict([], []).tolist() == [0.5, 0.5, 1]


def test_wanted_films_come_in_their_order_and_may_repeat() -> None:
    predictor = StarPredictor(arrays())
    every = predictor.predict([0], [5])
    assert predictor.predict([0], [5], [2, 0, 2]).tolist() == every[[2, 0, 2]].tolist()
    assert predictor.predict([0], [5], []).tolist() == []


def test_a_catalogue_of_one_film_is_predicted() -> None:
    one = {
        "item_base": np.array([4.0], np.float32),
        "item_factors": np.zeros((1, 1), np.float32),
        "item_variance": np.zeros((1, 1), np.float32),
    }
    assert StarPredictor(arrays(**one)).predict([0], [2]).tolist() == [3]


@given(models(), histories(), st.randoms(use_true_random=False))
def test_the_order_of_the_history_does_not_matter(model: StarPredictor, history: dict[int, float], random: Any) -> None:
    rows = list(history.items())
    random.shuffle(rows)
    shuffled = model.predict([item for item, _ in rows], [stars for _, stars in rows])
    assert shuffled.tolist() == model.predict(list(history), list(history.values())).tolist()


@given(models(), histories())
def test_predictions_stay_on_the_scale(model: StarPredictor, history: dict[int, float]) -> None:
    predicted = model.predict(list(history), list(history.values()))
    assert predicted.shape == (ITEMS,)
    assert np.all((predicted >= 0.5) & (predicted <= 5))


@given(models(), histories(highest=4.0))
def test_a_viewer_who_rates_everything_one_star_higher_is_predicted_higher(
    model: StarPredictor, history: dict[int, float]
) -> None:
    # With Z the rated films' rows, the sum over the rated films rises by 1ᵀZ (Λ + ZᵀZ + V)⁻¹ Zᵀ1, which is above 0.
    # A single film may fall where its factors contradict the rated ones'.
    items, stars = list(history), np.array(list(history.values()))
    lower, higher = model.raw(items, stars, items).sum(), model.raw(items, stars + 1, items).sum()
    assert higher > lower or not items


@given(models(), st.integers(0, ITEMS - 1))
def test_a_higher_rating_of_a_film_predicts_more_stars_for_it(model: StarPredictor, item: int) -> None:
    predicted = [float(model.raw([item], [stars], [item])[0]) for stars in SCALE]
    assert predicted == sorted(predicted)
    assert predicted[0] < predicted[-1]


@given(models(), histories(), st.lists(st.integers(0, ITEMS - 1)))
def test_a_film_is_predicted_alike_alone_and_among_all(
    model: StarPredictor, history: dict[int, float], wanted: list[int]
) -> None:
    items, stars = list(history), list(history.values())
    assert model.predict(items, stars, wanted).tolist() == model.predict(items, stars)[wanted].tolist()


@pytest.mark.parametrize(
    ("items", "stars", "wanted", "message"),
    [
        ([3], [4], None, "item_indices must be from 0 to 2, got 3"),
        ([-1], [4], None, "item_indices must be from 0 to 2, got -1"),
        ([0], [4], [0, 9], "wanted_indices must be from 0 to 2, got 9"),
        ([0.5], [4], None, "item_indices must be a vector of integers, got float64"),
        ([[0]], [[4]], None, r"item_indices must be a vector of integers, got int64\(1, 1\)"),
        ([0], [0], None, "stars must be from 0.5 to 5.0, got 0"),
        ([0], [5.5], None, "stars must be from 0.5 to 5.0, got 5.5"),
        ([0], [float("nan")], None, "stars must be from 0.5 to 5.0, got nan"),
        ([0], ["four"], None, "stars must be a vector of numbers"),
        ([0, 1], [4], None, "item_indices and stars must be equally long, got 2 and 1"),
        ([1, 0, 1], [4, 4, 2], None, "item_indices has film 1 more than once"),
    ],
)
def test_a_history_that_cannot_be_is_refused(items: Any, stars: Any, wanted: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StarPredictor(arrays()).predict(items, stars, wanted)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item_base": np.zeros((3, 1))}, "item_base must be floats with 1 dimensions"),
        ({"item_base": np.array([3.0, np.nan, 4.0])}, "item_base has values that are not finite"),
        ({"item_factors": np.zeros((2, 1))}, r"item_factors must have shape \(3, 1\), got \(2, 1\)"),
        ({"item_variance": np.full((3, 1), -1.0)}, "item_variance has negative values"),
        ({"viewer_precision": np.eye(3)}, r"viewer_precision must have shape \(2, 2\), got \(3, 3\)"),
        ({"viewer_precision": np.diag([1.0, 0.0])}, "viewer_precision must be symmetric and positive definite"),
        ({"calibration": np.array([0.0, 0.0])}, "calibration must have a slope above 0"),
    ],
)
def test_arrays_of_another_model_are_refused(changed: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StarPredictor(arrays(**changed))


@pytest.mark.parametrize("name", sorted(arrays()))
def test_a_missing_array_is_named(name: str) -> None:
    incomplete = arrays()
    del incomplete[name]
    with pytest.raises(ValueError, match=f"{name} is missing"):
        StarPredictor(incomplete)

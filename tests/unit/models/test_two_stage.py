"""The ranker: trees in NumPy give what LightGBM gives, and only proposed films are ranked by them."""

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.models.candidates import candidates
from services.models.features import Films, feature_names
from services.models.kinds.als import Als, Parameters
from services.trainer.models.kinds.two_stage import trees_of
from tests.support.histories import DAY_US, T0, history


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    leaves=st.integers(2, 8),
    missing=st.sampled_from([0.0, 0.2]),
    missing_when_asked=st.sampled_from([0.0, 0.3]),
)
def test_the_trees_give_what_lightgbm_gives(seed: int, leaves: int, missing: float, missing_when_asked: float) -> None:
    random = np.random.default_rng(seed)

    def rows(share: float) -> NDArray[np.float32]:
        given = random.normal(size=(400, 5)).astype(np.float32).round(1)
        return np.where(random.random(given.shape) < share, np.float32(np.nan), given)

    learned, asked = rows(missing), rows(missing_when_asked)
    target = np.nan_to_num(learned[:, 0]) * np.nan_to_num(learned[:, 1]) > random.normal(size=400)
    booster = lightgbm.train(
        {"objective": "lambdarank", "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, "num_threads": 1},
        lightgbm.Dataset(learned, target.astype(int), group=[40] * 10),
        20,
    )
    expected = booster.predict(asked)
    assert np.allclose(trees_of(booster.dump_model()).predict(asked), expected, atol=1e-5)


def test_trees_with_more_leaves_than_the_service_can_evaluate_are_refused() -> None:
    random = np.random.default_rng(1)
    data = lightgbm.Dataset(random.normal(size=(500, 3)), random.normal(size=500))
    booster = lightgbm.train({"num_leaves": 20, "min_data_in_leaf": 5, "verbosity": -1}, data, 1)
    with pytest.raises(ValueError, match="tree 0 has more than 8 leaves"):
        trees_of(booster.dump_model())


def test_candidates_are_the_best_of_each_model_that_the_viewer_has_not_seen() -> None:
    scores = [np.arange(1000, 0, -1, dtype=np.float32), np.arange(1000, dtype=np.float32)]
    found = candidates(scores, history([0, 5]), 10).tolist()
    assert {*range(1, 5), *range(6, 12), *range(990, 1000)} <= set(found)
    assert not {0, 5} & set(found)
    assert found == sorted(found)
    assert len(found) <= 40
    assert len(candidates([np.zeros(1000, np.float32)], history([0]), 10)) <= 10, "all scores are equal"
    assert candidates([scores[0][:5]], history([1, 2]), 9).tolist() == [0, 3, 4], "fewer films than asked for"


def test_features_are_as_worked_out_by_hand() -> None:
    films = Films(
        popularity=np.log(np.array([[1, 2, 4], [1, 1, 1], [2, 2, 2], [8, 4, 2]], np.float32)),
        years=np.array([1990, 2000, 0], np.int16),
        first_like_us=np.array([T0, T0 + 29 * DAY_US, T0], np.uint64),
        liked_share=np.array([0.5, 0.25, 1], np.float32),
        has_genre=np.array([[1, 0], [1, 1], [0, 1]], np.uint8),
    )
    near = Als(np.array([[1, 0], [0, 1], [1, 1]], np.float32), None, Parameters(regularization=1, alpha=1))
    # Film 0 was liked on day 0 and film 2, whose year is unknown, disliked on day 1; the list is asked for on day 30.
    viewer = history([0, 2], [1, -1])
    chosen = np.array([1, 2])
    rows = films.features(viewer, chosen, [np.array([0, 1, 3], np.float32), None], near)
    names = feature_names(["als", "other"])
    assert rows.shape == (2, len(names))
    one, two = (dict(zip(names, row.tolist(), strict=True)) for row in rows)
    assert (one["als_score"], one["als_deviation"], one["als_rank"]) == pytest.approx((1, -1, np.log(2)), abs=1e-5)
    assert (two["als_score"], two["als_deviation"], two["als_rank"]) == pytest.approx((3, 1, 0), abs=1e-5)
    assert np.isnan([one["other_score"], one["other_deviation"]]).all()
    assert one["popularity_recent"] == pytest.approx(np.log(2))
    assert one["age_in_years"] == pytest.approx(1970 + (T0 + 30 * DAY_US) / (365.25 * DAY_US) - 2000, abs=1e-3)
    assert np.isnan([two["age_in_years"], two["year_gap"]]).all()
    assert one["days_since_first_like"] == pytest.approx(np.log(2), abs=1e-5)
    assert (one["liked_share"], one["genres"]) == (0.25, 2)
    assert one["idle_hours"] == pytest.approx(np.log1p(29 * 24), abs=1e-5)
    assert (one["likes"], one["signals"]) == pytest.approx((np.log(2), np.log(3)))
    assert (one["viewer_liked_share"], one["likes_in_a_day"], one["year_deviation"]) == (0.5, 0, 0)
    assert (one["genre_affinity"], two["genre_affinity"]) == pytest.approx((1 / np.sqrt(2), 0), abs=1e-6)
    assert one["year_gap"] == 10
    assert (one["near_last"], two["near_last_three"]) == pytest.approx((0, 1 / np.sqrt(2)), abs=1e-6)

"""The training of stars on data small enough to say what must come out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.models.stars import StarPredictor
from services.trainer.models import star_factors
from services.trainer.models import stars as stars_module
from services.trainer.models.stars import MIN_HELD_OUT, Parameters, _entries, _matrix, fit
from tests.bench.ratings import Ratings, a_tenth, item_mean, mae, rmse, served, user_and_item_bias

SMALL = Parameters(factors=2, sweeps=8, film_precision=5.0)
Row = tuple[int, int, float]


def trained(rows: list[Row], n_users: int, n_items: int, parameters: Parameters = SMALL) -> StarPredictor:
    users, items, stars = zip(*rows, strict=True)
    return StarPredictor(fit(users, items, stars, n_users, n_items, parameters))


def checkerboard(size: int = 12) -> list[Row]:
    """Even viewers give even films 5 and odd films 1; odd viewers the other way round."""
    return [(u, i, 5.0 if (u + i) % 2 == 0 else 1.0) for u in range(size) for i in range(size)]


def noisy(count: int, users: int = 300, items: int = 200) -> Ratings:
    """Stars from random biases and one factor, rounded to halves."""
    random = np.random.default_rng(3)
    chosen = random.choice(users * items, count, replace=False)
    user, item = chosen // items, chosen % items
    raw = 3 + random.normal(0, 0.5, users)[user] + random.normal(0, 0.5, items)[item]
    raw += random.normal(0, 0.7, users)[user] * random.normal(0, 1, items)[item] + random.normal(0, 0.5, count)
    return Ratings(user, item, np.clip(np.round(raw * 2) / 2, 0.5, 5), users, items)


def test_what_a_viewer_has_not_rated_is_predicted_from_those_with_the_same_taste() -> None:
    board = [row for row in checkerboard() if row[:2] not in {(0, 0), (0, 1)}]
    predictor = trained(board, 12, 12)
    items, stars = zip(*[(i, s) for u, i, s in board if u == 0], strict=True)
    liked, disliked = predictor.predict(items, stars, [0, 1])
    assert liked > 4.5
    assert disliked < 1.5


def test_a_viewer_of_whom_training_knows_nothing_is_served() -> None:
    predictor = trained(checkerboard(), 12, 12)
    liked, disliked = predictor.predict([1, 3, 5], [5, 5, 5], [7, 8])
    assert liked > 4
    assert disliked < 2


def test_equal_stars_everywhere_are_predicted_everywhere() -> None:
    predictor = trained([(u, i, 3.0) for u in range(4) for i in range(3)], 4, 4)
    assert predictor.predict([], []).tolist() == pytest.approx([3, 3, 3, 3], abs=1e-6)
    assert predictor.predict([0], [3.0]).tolist() == pytest.approx([3, 3, 3, 3], abs=1e-6)


def test_one_viewer_with_one_film_gives_the_mean() -> None:
    predictor = trained([(0, 0, 4.0)], 1, 1)
    assert predictor.predict([], []).tolist() == pytest.approx([4.0])
    assert predictor.predict([0], [4.0]).tolist() == pytest.approx([4.0])
    assert 2 < predictor.predict([0], [2.0])[0] < 4


def test_one_viewer_with_two_films_ranks_them_and_keeps_within_the_ratings() -> None:
    low, high = trained([(0, 0, 2.0), (0, 1, 5.0)], 1, 2).predict([], [])
    assert 2 < low < high < 5


def test_a_film_nobody_rated_is_predicted_as_the_mean_film() -> None:
    rows = [(u, 0, 5.0) for u in range(30)] + [(u, 1, 1.0) for u in range(30)]
    predicted = trained(rows, 30, 3).predict([], [])
    assert predicted[2] == pytest.approx((predicted[0] + predicted[1]) / 2, abs=1e-6)


def test_a_film_with_one_rating_is_nearer_to_the_mean_than_one_with_many() -> None:
    rows = [(u, 0, 5.0) for u in range(29)] + [(29, 1, 5.0)] + [(u, 2, 1.0) for u in range(30)]
    many, one, _ = trained(rows, 30, 3).predict([], [])
    assert 3 < one < many


def test_on_a_trained_model_one_star_more_for_everything_raises_every_film() -> None:
    data = noisy(6000)
    predictor = StarPredictor(fit(data.user, data.item, data.stars, data.users, data.items, SMALL))
    for history in list(data.by_viewer())[:50]:
        items, stars = data.item[history], np.minimum(data.stars[history], 4)
        assert np.all(predictor.raw(items, stars + 1) > predictor.raw(items, stars))


def test_equal_ratings_in_another_order_give_equal_bytes() -> None:
    data = noisy(3000)
    shuffled = np.random.default_rng(1).permutation(len(data.stars))
    first = fit(data.user, data.item, data.stars, data.users, data.items, SMALL)
    other = Ratings(data.user[shuffled], data.item[shuffled], data.stars[shuffled], data.users, data.items)
    second = fit(other.user, other.item, other.stars, other.users, other.items, SMALL)
    assert {name: array.tobytes() for name, array in first.items()} == {n: a.tobytes() for n, a in second.items()}


def test_viewers_without_ratings_change_nothing() -> None:
    few, many = fit([0, 1], [0, 1], [4, 2], 2, 2, SMALL), fit([3, 7], [0, 1], [4, 2], 9, 2, SMALL)
    assert all(np.array_equal(few[name], many[name]) for name in few)


def test_the_work_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    users, items, stars = zip(*checkerboard(), strict=True)
    whole = fit(users, items, stars, 12, 12, SMALL)
    monkeypatch.setattr(star_factors, "BLOCK", 5)
    in_blocks = fit(users, items, stars, 12, 12, SMALL)
    for name, array in whole.items():
        np.testing.assert_allclose(in_blocks[name], array, rtol=1e-4, atol=1e-5)


def test_serving_folds_a_history_in_as_training_does() -> None:
    data = noisy(3000)
    parameters = SMALL.model_copy(update={"calibration_share": 0.0})
    predictor = StarPredictor(fit(data.user, data.item, data.stars, data.users, data.items, parameters))
    ratings = _matrix(data.user, data.item, data.stars, data.users, data.items)
    films = star_factors.start(ratings, SMALL.factors, SMALL.seed)
    for _ in range(SMALL.sweeps):
        films = star_factors.improve(films, ratings, SMALL.bias_ratings, SMALL.film_precision)
    means = star_factors._solve_viewers(films, ratings).means
    # Training moves the mean viewer to 0, so the difference of two viewers is compared.
    first, second = (predictor.raw(row.indices, row.data) for row in (ratings[0], ratings[1]))
    expected = np.column_stack((np.ones(data.items), films.factors)) @ (means[0] - means[1])
    np.testing.assert_allclose(first - second, expected, atol=1e-4)


def test_the_evaluation_goes_through_the_served_prediction() -> None:
    data = noisy(4000)
    test_mask = a_tenth(len(data.stars), 1)
    train, test = data.take(~test_mask), data.take(test_mask)
    predictor = StarPredictor(fit(train.user, train.item, train.stars, train.users, train.items, SMALL))
    evaluated = served(predictor, train, test)
    for row in range(20):
        mine = np.flatnonzero(train.user == test.user[row])[::-1]
        one = predictor.predict(train.item[mine], train.stars[mine], [test.item[row]])
        assert one[0] == evaluated[row]


def test_on_planted_factors_it_beats_the_biases() -> None:
    data = noisy(12_000)
    test_mask = a_tenth(len(data.stars), 1)
    train, test = data.take(~test_mask), data.take(test_mask)
    predictor = StarPredictor(fit(train.user, train.item, train.stars, train.users, train.items, SMALL))
    assert rmse(served(predictor, train, test), test.stars) < 0.9 * rmse(user_and_item_bias(train)(test), test.stars)


def test_the_calibration_is_learned_from_enough_ratings_only() -> None:
    few, many = noisy(4000), noisy(24_000)
    assert fit(few.user, few.item, few.stars, 300, 200, SMALL)["calibration"].tolist() == [0, 1]
    assert len(many.stars) * SMALL.calibration_share > MIN_HELD_OUT
    intercept, slope = fit(many.user, many.item, many.stars, 300, 200, SMALL)["calibration"]
    assert (intercept, slope) != (0, 1)
    assert slope == pytest.approx(1, abs=0.1)


def test_held_out_ratings_are_neither_trained_on_nor_folded_in(monkeypatch: pytest.MonkeyPatch) -> None:
    data, trained_on, predicted = noisy(24_000), [], []

    def improve(films: star_factors.Films, ratings: Any, *priors: float) -> star_factors.Films:
        trained_on.append(ratings.nnz)
        return star_factors.improve(films, ratings, *priors)

    class Watched(StarPredictor):
        def raw(self, item_indices: Any, stars: Any, wanted_indices: Any = None) -> NDArray[np.float64]:
            assert not np.isin(wanted_indices, item_indices).any()
            predicted.append(len(wanted_indices))
            return super().raw(item_indices, stars, wanted_indices)

    monkeypatch.setattr(stars_module, "improve", improve)
    monkeypatch.setattr(stars_module, "StarPredictor", Watched)
    fit(data.user, data.item, data.stars, data.users, data.items, SMALL)
    held_out = sum(predicted)
    assert held_out == pytest.approx(24_000 * SMALL.calibration_share, rel=0.1)
    assert trained_on == [24_000 - held_out] * SMALL.sweeps + [24_000] * SMALL.calibrated_sweeps


def test_held_out_ratings_leave_their_viewers_when_they_were_all() -> None:
    ratings = _matrix([0, 0, 1, 2], [0, 2, 1, 0], [1, 2, 3, 4], 3, 3)
    kept = _entries(ratings, np.array([False, True, False, True]))
    assert kept.shape == (2, 3)
    assert (kept.indptr.tolist(), kept.indices.tolist(), kept.data.tolist()) == ([0, 1, 2], [2, 0], [2, 4])


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 3)), st.integers(1, 10).map(lambda half: half / 2), min_size=1
    )
)
def test_whatever_the_ratings_the_arrays_are_served_and_predict_on_the_scale(given_stars: dict[Any, float]) -> None:
    predictor = trained([(u, i, s) for (u, i), s in given_stars.items()], 5, 4)
    mine = {i: s for (u, i), s in given_stars.items() if u == 0}
    predicted = predictor.predict(list(mine), list(mine.values()))
    assert np.all((predicted >= 0.5) & (predicted <= 5))


def vector(*values: float) -> NDArray[np.float64]:
    return np.array(values)


@pytest.mark.parametrize(
    ("users", "items", "stars", "axes", "message"),
    [
        ([], [], [], (2, 2), "stars is empty"),
        ([0], [0], [4], (0, 2), "n_users and n_items must be at least 1, got 0 and 2"),
        ([2], [0], [4], (2, 2), "user_index must be from 0 to 1, got 2"),
        ([0], [-1], [4], (2, 2), "item_index must be from 0 to 1, got -1"),
        ([0], [0], [6], (2, 2), "stars must be from 0.5 to 5.0, got 6"),
        ([0, 1], [0], [4], (2, 2), "user_index, item_index and stars must be equally long, got 2, 1 and 1"),
        ([1, 0, 1], [0, 0, 0], [4, 4, 2], (2, 2), "user 1 has rated film 0 more than once"),
    ],
)
def test_ratings_that_cannot_be_are_refused(users: Any, items: Any, stars: Any, axes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(users, items, stars, axes[0], axes[1], SMALL)


def test_the_baselines_are_as_worked_out_by_hand() -> None:
    train = Ratings(np.array([0, 1, 0]), np.array([0, 0, 1]), vector(4, 2, 3), 2, 3)
    assert item_mean(train).tolist() == [3, 3, 3]
    # Round 1: film 0 has (1 - 1) / 7, film 1 has 0 / 6, viewer 0 has (1 + 0) / 7, viewer 1 has -1 / 6.
    assert user_and_item_bias(train, rounds=1)(train).tolist() == pytest.approx([3 + 1 / 7, 3 - 1 / 6, 3 + 1 / 7])
    assert rmse(vector(1, 2), vector(2, 5)) == pytest.approx(np.sqrt(5))
    assert mae(vector(1, 2), vector(2, 5)) == 2

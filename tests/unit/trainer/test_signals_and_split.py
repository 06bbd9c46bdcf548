from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from services.contracts.bundle import ConfidenceParameters
from services.trainer.data.dataset import TrainingData, training_data
from services.trainer.data.moments import Timelines
from services.trainer.data.popularity import popularity
from services.trainer.data.signals import Signals, pivot
from services.trainer.engines import local
from services.trainer.evaluation.evaluate import split_by_time
from services.trainer.models.recipe import ModelRecipe, Recipe

Row = tuple[int, int, int, float, int, int]
OPINION, RATING, WATCHED = 0, 1, 2


def signals(*rows: Row) -> Signals:
    """(user, item, kind, value, time µs, id) rows as columns."""
    user, item, kind, value, time, low = zip(*rows, strict=True) if rows else ([],) * 6
    return Signals(
        np.array(user, np.int64), np.array(item, np.int64), np.array(kind, np.uint8),
        np.array(value, np.float32), np.array(time, np.uint64), np.array(low, np.uint64),
    )  # fmt: skip


def dense(data: TrainingData) -> NDArray[np.float32]:
    matrix: Any = data.matrix()
    return np.asarray(matrix.toarray())


def test_signals_of_one_film_meet_in_one_row_with_their_versions() -> None:
    history = pivot(signals((2, 5, RATING, 3.5, 20, 1), (1, 9, OPINION, -1, 30, 2), (2, 5, WATCHED, 1, 10, 3)))
    assert history.user_ids.tolist() == [1, 2]
    assert history.indptr.tolist() == [0, 1, 2]
    assert history.item_ids.tolist() == [9, 5]
    assert history.opinion.tolist() == [-1, 0]
    assert history.rating[1] == 3.5
    assert np.isnan(history.rating[0])
    assert history.watched.tolist() == [0, 1]
    assert history.versions.tolist() == [[[30, 2], [0, 0], [0, 0]], [[0, 0], [20, 1], [10, 3]]]
    assert history.time_us.tolist() == [30, 20]


def test_nothing_gives_an_empty_history() -> None:
    history = pivot(signals())
    assert (len(history), history.indptr.tolist()) == (0, [0])


rows = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(1, 4), st.integers(0, 2), st.sampled_from([-1.0, 0.0, 1.0]),
        st.integers(1, 5), st.integers(0, 10**6),
    ),
    unique_by=lambda row: (row[:3], row[4:]), max_size=30,
)  # fmt: skip


@given(rows, st.randoms())
def test_the_order_of_rows_never_matters_and_the_greatest_version_wins(given_rows: list[Row], random: object) -> None:
    shuffled = sorted(given_rows, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = pivot(signals(*given_rows)), pivot(signals(*shuffled))
    assert one.versions.tolist() == other.versions.tolist()
    assert one.opinion.tolist() == other.opinion.tolist()
    expected = {
        (u, i): max((row[4], row[5], row[3]) for row in given_rows if row[:3] == (u, i, OPINION))[2]
        for u, i, k, *_ in given_rows if k == OPINION
    }  # fmt: skip
    found = zip(one.user_ids[one.user_index].tolist(), one.item_ids.tolist(), one.opinion.tolist(), strict=True)
    assert {(u, i): o for u, i, o in found if (u, i) in expected} == expected


def test_the_split_puts_the_latest_fifth_in_the_test_part() -> None:
    part = split_by_time(pivot(signals(*((1, n, RATING, 4, 100 - n, 0) for n in range(10)))), 0.2)
    assert (part.train.item_ids.tolist(), part.test.item_ids.tolist()) == (list(range(2, 10)), [0, 1])
    assert part.from_us == 99


def test_equal_times_stay_on_one_side() -> None:
    part = split_by_time(pivot(signals(*((1, n, RATING, 4, 7 if n else 6, 0) for n in range(10)))), 0.2)
    assert (len(part.train), len(part.test)) == (1, 9)


@given(rows, st.floats(0.05, 0.95))
def test_nothing_of_the_training_part_is_later_than_the_test_part(given_rows: list[Row], share: float) -> None:
    whole = pivot(signals(*given_rows))
    part = split_by_time(whole, share)
    assert len(part.train) + len(part.test) == len(whole)
    if len(part.train) and len(part.test):
        assert part.train.time_us.max() < part.test.time_us.min() == part.from_us


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_by_time(pivot(signals()), 1.0)


def test_neutral_rows_and_films_nobody_likes_are_not_trained_on_but_their_users_stay() -> None:
    history = pivot(
        signals(
            (1, 10, RATING, 5, 1, 0), (1, 20, RATING, 3, 1, 0), (2, 20, RATING, 1, 1, 0), (3, 10, OPINION, -1, 1, 0)
        )
    )
    data = training_data(history, ConfidenceParameters())
    assert data.user_ids.tolist() == [1, 2, 3]
    assert data.item_ids.tolist() == [10]
    assert dense(data).tolist() == [[1.0], [0.0], [-2.0]]
    assert data.positives == 1


def checkerboard(users: int = 20, items: int = 20) -> Signals:
    """Odd users like odd films, even users even ones; each has one film of the own kind left to see."""
    return signals(
        *(
            (u, i, OPINION, 1, 1 + u * items + i, 0)
            for u in range(1, users + 1)
            for i in range(1, items + 1)
            if u % 2 == i % 2 and i // 2 % 10 != u // 2 % 10
        )
    )


def als(data: TrainingData, **parameters: float) -> NDArray[np.float32]:
    """The factors of the items."""
    models = {"als": ModelRecipe(kind="als", parameters=parameters), "popular": ModelRecipe(kind="popular")}
    return np.asarray(local.fit(data, Recipe(models=models), only="als")["als"].arrays["item_factors"])


def als_scores(data: TrainingData, **parameters: float) -> NDArray[np.float32]:
    """(users, items) as the service scores them; 0 for a user whom it cannot score."""
    models = {"als": ModelRecipe(kind="als", parameters=parameters), "popular": ModelRecipe(kind="popular")}
    recipe = Recipe(models=models)
    model = local.recommenders(data, recipe, local.fit(data, recipe))["als"]
    timelines, rows = Timelines(data.histories, data.confidence), []
    for user in range(len(data.user_ids)):
        scores = model.score(timelines.history(user, timelines.rows(user).stop, data.item_ids, at_us=10**6))
        rows.append(np.zeros(len(data.item_ids), np.float32) if scores is None else scores)
    return np.stack(rows)


def test_als_recovers_the_rest_of_a_checkerboard() -> None:
    data = training_data(pivot(checkerboard()), ConfidenceParameters())
    scores = np.where(dense(data) > 0, -np.inf, als_scores(data, factors=4, regularization=0.1))
    for user, best in zip(data.user_ids, data.item_ids[scores.argmax(axis=1)], strict=True):
        assert (best % 2, best // 2 % 10) == (user % 2, user // 2 % 10)


def test_training_twice_gives_equal_factors() -> None:
    data = training_data(pivot(checkerboard()), ConfidenceParameters())
    assert np.array_equal(als(data, factors=8), als(data, factors=8))


def test_negative_weights_reach_implicit_unharmed() -> None:
    data = training_data(pivot(signals(*_rows(checkerboard()), (1, 2, OPINION, -1, 1, 0))), ConfidenceParameters())
    assert data.matrix()[0, 1] == -2
    model: Any = AlternatingLeastSquares(  # type: ignore[no-untyped-call]
        factors=4, alpha=3.0, regularization=0.1, iterations=15, random_state=42
    )
    with threadpool_limits(limits=1, user_api="blas"):  # type: ignore[no-untyped-call]
        model.fit(data.matrix(), show_progress=False)
    assert np.allclose(als(data, factors=4, regularization=0.1), model.item_factors, atol=1e-6)


def test_a_dislike_costs_a_film_its_score() -> None:
    score = {}
    for name, opinion in {"silent": [], "disliked": [(1, 1, OPINION, -1.0, 1, 0)]}.items():
        rows = [row for row in _rows(checkerboard()) if row[:2] != (1, 1)]
        data = training_data(pivot(signals(*rows, *opinion)), ConfidenceParameters())
        score[name] = float(als_scores(data, factors=4, regularization=0.1)[0, 0])
    assert score["disliked"] < score["silent"] - 0.05


def test_a_user_without_positives_is_not_scored() -> None:
    some = checkerboard()
    data = training_data(pivot(signals(*_rows(some), (99, 1, OPINION, -1, 1, 0))), ConfidenceParameters())
    scores = als_scores(data, factors=8)
    assert not scores[data.user_ids.tolist().index(99)].any()
    assert scores[0].any()


def test_a_dislike_does_not_make_a_film_popular() -> None:
    likes = [(1, 10, OPINION, 1, 1, 0), (2, 20, OPINION, 1, 1, 0), (3, 20, OPINION, 1, 1, 0)]
    dislikes = [(user, 10, OPINION, -1, 1, 0) for user in (4, 5, 6)]
    data = training_data(pivot(signals(*likes, *dislikes)), ConfidenceParameters())
    assert popularity(data).tolist() == [1.0, 2.0]


def _rows(some: Signals) -> list[Row]:
    names = ("user_id", "item_id", "kind", "value", "time_us", "id_low")
    return list(zip(*(getattr(some, name).tolist() for name in names), strict=True))

"""The metrics of lists that can be worked out by hand."""

from math import log2

import numpy as np
import pytest
from scipy import sparse

from services.trainer.data.dataset import training_data
from services.trainer.data.signals import Signals, pivot
from services.trainer.evaluation.evaluate import _best, evaluate, top_k
from services.trainer.models.recipe import Recipe

OPINION = 0
SMALL = Recipe.model_validate(
    {"models": {"als": {"kind": "als", "parameters": {"factors": 2}}, "popular": {"kind": "popular"}}}
)


def likes(*rows: tuple[int, int, int]) -> Signals:
    """(user, item, time) rows."""
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    n = len(user)
    return Signals(
        user.astype(np.int64), item.astype(np.int64), np.zeros(n, np.uint8), np.ones(n, np.float32),
        time.astype(np.uint64), np.arange(n, dtype=np.uint64),
    )  # fmt: skip


def test_popularity_is_measured_as_worked_out_by_hand() -> None:
    # Likes: film 1 three, film 2 two, film 3 two, film 4 one. User 1 has seen 1, user 2 has seen 1 and 2.
    train = likes((1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 3, 1), (4, 3, 1), (4, 4, 1))
    # User 1's list is 2, 3 and the truth is 3 and 9 (unknown); user 2's list is 3, 4 and the truth is 4.
    test = likes((1, 3, 2), (1, 9, 2), (2, 4, 2))
    result = evaluate(pivot(train), pivot(test), {"als": SMALL}, k=2)
    assert result.users == 2
    popular = result.metrics["popular"]
    second = 1 / log2(3)
    assert popular["hit_rate"] == 1.0
    assert popular["ndcg"] == pytest.approx((second / (1 + second) + second / 1) / 2)
    assert result.ndcg["popular"].tolist() == pytest.approx([second / (1 + second), second])
    assert set(result.ndcg) == {"popular", "popular_recent", "als"}
    assert popular["recall"] == pytest.approx((1 / 2 + 1) / 2)
    assert popular["precision"] == pytest.approx(1 / 2)
    assert popular["mrr"] == pytest.approx(1 / 2)
    assert popular["map"] == pytest.approx((1 / 2 / 2 + 1 / 2) / 2)
    assert popular["coverage"] == pytest.approx(3 / 4)


def test_newcomers_and_films_seen_before_are_not_measured() -> None:
    train = likes((1, 1, 1), (2, 2, 1))
    assert evaluate(pivot(train), pivot(likes((3, 1, 2), (1, 1, 2))), {"als": SMALL}).users == 0


def test_a_disliked_film_is_no_truth() -> None:
    test = likes((1, 2, 2))
    disliked = Signals(test.user_id, test.item_id, test.kind, -test.value, test.time_us, test.id_low)
    assert evaluate(pivot(likes((1, 1, 1), (2, 2, 1))), pivot(disliked), {"als": SMALL}).users == 0


def test_no_recipe_is_refused() -> None:
    history = pivot(likes((1, 1, 1)))
    with pytest.raises(ValueError, match="at least one recipe"):
        evaluate(history, history, {})


def test_lists_leave_out_what_was_seen_and_end_where_films_do() -> None:
    data = training_data(pivot(likes((1, 10, 1), (1, 20, 1), (2, 30, 1))), Recipe().confidence)
    seen = sparse.csr_matrix(np.array([[1, 1, 0]], np.int8))  # type: ignore[no-untyped-call]
    lists = top_k(lambda _: np.array([[3, 2, 1]], np.float32), np.array([1]), data, seen, k=2)
    assert lists.to_dict("list") == {"user_id": [1], "item_id": [30], "rank": [1]}


def test_ties_are_broken_by_column() -> None:
    scores = np.array([[1, 2, 1, 1, 2], [0, 0, 0, 0, 0]], np.float32)
    assert _best(scores, 3).tolist() == [[1, 4, 0], [0, 1, 2]]
    assert _best(scores[:, :2], 2).tolist() == [[1, 0], [0, 1]]


def test_the_best_are_those_of_a_full_sort() -> None:
    scores = np.random.default_rng(1).integers(0, 20, (50, 40)).astype(np.float32)
    assert np.array_equal(_best(scores, 7), np.argsort(-scores, axis=1, kind="stable")[:, :7])

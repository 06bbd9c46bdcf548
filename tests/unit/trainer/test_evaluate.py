"""The metrics of lists that can be worked out by hand."""

from math import log2

import numpy as np
import pytest

from services.models.kinds.popular import Popular
from services.trainer.data.dataset import training_data
from services.trainer.data.signals import Signals, pivot
from services.trainer.evaluation.evaluate import Part, _streaming_moments, evaluate
from services.trainer.evaluation.lists import LENGTH, lists_of
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


def part(train: Signals, test: Signals) -> Part:
    return Part(pivot(train), pivot(test))


def test_popularity_is_measured_as_worked_out_by_hand() -> None:
    # Likes: film 1 three, films 2 and 3 two, film 4 one. User 1 has seen 1, user 2 has seen 1 and 2.
    train = likes((1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 1), (3, 2, 1), (3, 3, 1), (4, 3, 1), (4, 4, 1))
    # User 1's list is 2, 3, 4 and the truth is 3 and 9 (unknown); user 2's list is 3, 4 and the truth is 4.
    test = likes((1, 3, 2), (1, 9, 2), (2, 4, 2))
    split = evaluate(part(train, test), {"als": SMALL}).split
    assert split.users.tolist() == [1, 2]
    assert split.likes.tolist() == [1, 2]
    assert set(split.models) == {"popular", "popular_recent", "als"}
    popular = split.models["popular"]
    second = 1 / log2(3)
    assert popular.per_moment["ndcg@5"].tolist() == pytest.approx([second / (1 + second), second])
    means = popular.means() | popular.of_all
    assert means["hit_rate@5"] == 1.0
    assert means["recall@5"] == pytest.approx((1 / 2 + 1) / 2)
    assert means["precision@5"] == pytest.approx(1 / 5)
    assert means["mrr@5"] == pytest.approx(1 / 2)
    assert means["map@5"] == pytest.approx((1 / 2 / 2 + 1 / 2) / 2)
    assert means["coverage@5"] == pytest.approx(3 / 4)
    # User 1 is shown films that 2, 2 and 1 of 4 viewers like; user 2 films that 2 and 1 like.
    assert means["popularity@5"] == pytest.approx((5 / 3 + 3 / 2) / 2 / 4)
    assert popular.means(np.array([False, True]))["ndcg@5"] == pytest.approx(second)


def test_newcomers_and_films_seen_before_are_not_measured() -> None:
    train = likes((1, 1, 1), (2, 2, 1))
    assert not evaluate(part(train, likes((3, 1, 2), (1, 1, 2))), {"als": SMALL}).split.moments


def test_a_disliked_film_is_no_truth() -> None:
    test = likes((1, 2, 2))
    disliked = Signals(test.user_id, test.item_id, test.kind, -test.value, test.time_us, test.id_low)
    assert not evaluate(part(likes((1, 1, 1), (2, 2, 1)), disliked), {"als": SMALL}).split.moments


def test_no_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one recipe"):
        evaluate(part(likes((1, 1, 1)), likes((1, 1, 1))), {})


def test_streaming_asks_before_each_like_with_all_that_the_viewer_did_until_then() -> None:
    train = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 3, 1)]
    test = [(1, 2, 10), (1, 3, 20), (4, 1, 30), (4, 2, 30)]
    whole = pivot(likes(*train, *test))
    given = Part(pivot(likes(*train)), pivot(likes(*test)), whole)

    def histories(delay_us: int | None) -> list[tuple[int, list[int], list[int]]]:
        moments = _streaming_moments(given, training_data(given.train, SMALL.confidence), SMALL, delay_us)
        return [(m.user_id, m.history.item_ids.tolist(), m.targets.tolist()) for m in moments]

    # Films 1 and 2 of viewer 4 have one time: the signals' ids give the order.
    assert histories(0) == [(1, [1], [2]), (1, [1, 2], [3]), (4, [], [1]), (4, [1], [2])]
    assert histories(10) == [(1, [], [2]), (1, [1], [3]), (4, [], [1]), (4, [], [2])]
    assert histories(None) == [(1, [1], [2]), (1, [1], [3]), (4, [], [1]), (4, [], [2])]


def test_equal_recipes_are_trained_once() -> None:
    given = part(likes((1, 1, 1), (2, 2, 1), (2, 1, 1)), likes((1, 2, 2)))
    split = evaluate(given, {"als": SMALL, "champion": SMALL.model_copy()}).split
    assert split.models["als"] is split.models["champion"]


def test_lists_leave_out_what_was_seen_and_end_where_films_do() -> None:
    given = part(likes((1, 1, 1), (1, 2, 2), (2, 3, 1)), likes((1, 3, 3)))
    moments = evaluate(given, {"als": SMALL}).split.moments
    lists = lists_of(Popular(np.array([3, 2, 1], np.float32)), moments, np.array([1, 2, 3]), np.zeros(3, np.float32))
    assert lists.item_ids.tolist() == [[3] + [0] * (LENGTH - 1)]
    assert lists.fell_back.tolist() == [False]

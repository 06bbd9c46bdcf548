import numpy as np
from numpy.typing import NDArray

from services.trainer.bundles.publish import canaries
from services.trainer.models.base import Scorer


def scorer(scores: NDArray[np.float32]) -> Scorer:
    return lambda users: scores[users].copy()


def test_canaries_are_the_clearest_lists_of_users_who_like_something() -> None:
    clear = np.arange(12, 0, -1, dtype=np.float32)
    close = 1 + clear * np.float32(1e-6)
    scores = np.stack([close, clear, clear, close, clear[::-1], close, clear, clear, clear])
    likes = np.arange(9) != 2
    lists = canaries(np.arange(100, 109), np.arange(1, 13), likes, scorer(scores))
    assert [canary.user_id for canary in lists] == [101, 104, 106, 107, 108]
    assert lists[0].item_ids == list(range(1, 11))
    assert lists[1].item_ids == list(range(12, 2, -1))


def test_fewer_than_ten_items_make_shorter_canaries() -> None:
    score = scorer(np.array([[1.0, 2.0]], np.float32))
    assert [c.item_ids for c in canaries(np.array([7]), np.array([5, 6]), np.array([True]), score)] == [[6, 5]]


def test_without_anybody_who_likes_something_there_are_no_canaries() -> None:
    score = scorer(np.zeros((2, 2), np.float32))
    assert canaries(np.array([7, 8]), np.array([5, 6]), np.array([False, False]), score) == []

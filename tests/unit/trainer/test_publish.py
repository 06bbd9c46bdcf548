import numpy as np

from services.trainer.models import Factors
from services.trainer.publish import canaries


def test_canaries_are_the_clearest_lists_of_users_with_factors() -> None:
    items = np.eye(12, dtype=np.float32)
    clear = np.arange(12, 0, -1, dtype=np.float32)
    close = 1 + clear * np.float32(1e-6)
    users = np.stack([close, clear, np.zeros(12, np.float32), close, clear[::-1], close, clear, clear, clear])
    lists = canaries(np.arange(100, 109), np.arange(1, 13), Factors(users, items))
    assert [canary.user_id for canary in lists] == [101, 104, 106, 107, 108]
    assert lists[0].item_ids == list(range(1, 11))
    assert lists[1].item_ids == list(range(12, 2, -1))


def test_fewer_than_ten_items_make_shorter_canaries() -> None:
    factors = Factors(np.array([[1.0, 2.0]], np.float32), np.eye(2, dtype=np.float32))
    assert [c.item_ids for c in canaries(np.array([7]), np.array([5, 6]), factors)] == [[6, 5]]


def test_without_factors_there_are_no_canaries() -> None:
    factors = Factors(np.zeros((2, 2), np.float32), np.eye(2, dtype=np.float32))
    assert canaries(np.array([7, 8]), np.array([5, 6]), factors) == []

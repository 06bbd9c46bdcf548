"""Canary lists, which say whether a replica computes what the trainer did."""

from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import Canary, ConfidenceParameters
from services.models.base import Capabilities, Floats, History
from services.trainer.bundles.publish import canaries
from services.trainer.data.signals import Signals, pivot

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ByRow:
    """Scores per trained row."""

    capabilities = Capabilities()

    def __init__(self, scores: NDArray[np.float32]) -> None:
        self._scores = scores

    def score(self, history: History) -> Floats | None:
        assert history.trained_row is not None
        scores: Floats = self._scores[history.trained_row]
        return scores

    def similar(self, index: int) -> Floats | None:
        return None

    def contributions(self, history: History, index: int) -> Floats | None:
        return None


def lists(scores: NDArray[np.float32], users: list[int], opinions: list[int], items: list[int]) -> list[Canary]:
    """One signal each, for the first item."""
    n = len(users)
    signals = Signals(
        np.array(users), np.full(n, items[0]), np.zeros(n, np.uint8), np.array(opinions, np.float32),
        np.arange(1, n + 1, dtype=np.uint64), np.arange(n, dtype=np.uint64),
    )  # fmt: skip
    return canaries(ByRow(scores), pivot(signals), ConfidenceParameters(), np.array(items), NOW)


def test_canaries_are_the_clearest_lists_of_users_who_like_something() -> None:
    clear = np.arange(12, 0, -1, dtype=np.float32)
    close = 1 + clear * np.float32(1e-6)
    scores = np.stack([close, clear, clear, close, clear[::-1], close, clear, clear, clear])
    opinions = [1 if user != 2 else -1 for user in range(9)]
    found = lists(scores, list(range(100, 109)), opinions, list(range(1, 13)))
    assert [canary.user_id for canary in found] == [101, 104, 106, 107, 108]
    assert found[0].item_ids == list(range(1, 11))
    assert found[1].item_ids == list(range(12, 2, -1))


def test_fewer_than_ten_items_make_shorter_canaries() -> None:
    assert [c.item_ids for c in lists(np.array([[1.0, 2.0]], np.float32), [7], [1], [5, 6])] == [[6, 5]]


def test_without_anybody_who_likes_something_there_are_no_canaries() -> None:
    assert lists(np.zeros((2, 2), np.float32), [7, 8], [-1, -1], [5, 6]) == []

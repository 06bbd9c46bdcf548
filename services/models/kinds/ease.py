"""EASE (Steck, 2019): a film's score is the sum of its weights from the films that the viewer likes."""

from collections.abc import Mapping

import numpy as np

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Indices, Recommender
from services.models.loader import need
from services.models.recency import RecencyWeights


class Ease:
    """A model of n films, of which it covers the h most liked; the others score 0."""

    capabilities = Capabilities(min_likes=1, finds_similar=True, explains=True)

    def __init__(self, weights: Floats, covered: Indices, items: int, recency: RecencyWeights) -> None:
        """``weights`` (h, h): in row j what a like of film j adds to each film; ``covered`` (h,) ascending indices."""
        self._weights = weights
        self._covered = covered
        self._recency = recency
        self._all = len(covered) == items
        self._place = np.full(items, -1, np.intp)
        self._place[covered] = np.arange(len(covered))

    def score(self, history: History) -> Floats | None:
        """Return the sums of the likes' weights; None without a liked film that it covers."""
        liked = self._liked(history)
        if not len(liked):
            return None
        weight = self._recency.of(history)[liked]
        sums: Floats = weight @ self._weights[self._place[history.indices[liked]]]
        return self._spread(sums)

    def similar(self, index: int) -> Floats | None:
        """Return what a like of the film adds to each film; None for a film that it does not cover."""
        place = self._place[index]
        return None if place < 0 else self._spread(self._weights[place])

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return the likes' weights, whose sum is the score."""
        result = np.zeros(len(history.item_ids), np.float32)
        liked, place = self._liked(history), self._place[index]
        if place >= 0:
            result[liked] = self._recency.of(history)[liked] * self._weights[self._place[history.indices[liked]], place]
        return result

    def _liked(self, history: History) -> Indices:
        liked = history.liked
        return liked if self._all else liked[self._place[history.indices[liked]] >= 0]

    def _spread(self, scores: Floats) -> Floats:
        if self._all:
            return scores
        result = np.zeros(len(self._place), np.float32)
        result[self._covered] = scores
        return result


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> Ease:
    """Return the model.

    Raises:
        BundleError: the arrays are not those of a model over the shared axes.
    """
    weights, covered = need(arrays, "weights", "float32", 2), need(arrays, "covered", "int64", 1)
    items = len(shared["item_ids"])
    if weights.shape != (len(covered), len(covered)):
        raise BundleError(f"weights {weights.shape} are not for {len(covered)} covered items")
    if len(covered) and (covered[0] < 0 or covered[-1] >= items or bool(np.any(np.diff(covered) <= 0))):
        raise BundleError(f"covered is not ascending indices of {items} items")
    return Ease(weights, covered, items, RecencyWeights.model_validate(parameters))

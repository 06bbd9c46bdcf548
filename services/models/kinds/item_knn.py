"""Item-based nearest neighbours: a film's score is the sum of its similarities to the films that the viewer likes.

Sparse: it suits catalogues of any size.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender
from services.models.loader import need
from services.models.recency import RecencyWeights


class ItemKnn:
    """A model of n films with at most k neighbours each."""

    capabilities = Capabilities(min_likes=1, finds_similar=True, explains=True)

    def __init__(self, neighbours: NDArray[np.int32], similarities: Floats, recency: RecencyWeights) -> None:
        """``neighbours`` (n, k) indices of films, ``similarities`` (n, k); 0 where a film has fewer."""
        self._neighbours = neighbours
        self._similarities = similarities
        self._recency = recency

    def score(self, history: History) -> Floats | None:
        """Return the sums, weighted by the likes' recency; None without a liked film of the bundle."""
        liked = history.liked
        if not len(liked):
            return None
        rows, weight = history.indices[liked], self._recency.of(history)[liked]
        added = self._similarities[rows] * weight[:, None]
        sums = np.bincount(self._neighbours[rows].ravel(), weights=added.ravel(), minlength=len(self._neighbours))
        return sums.astype(np.float32)

    def similar(self, index: int) -> Floats | None:
        """Return the similarities; None for a film without neighbours."""
        if not self._similarities[index].any():
            return None
        result = np.zeros(len(self._neighbours), np.float32)
        np.maximum.at(result, self._neighbours[index], self._similarities[index])
        return result

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return each like's similarity to the film, weighted; their sum is the score."""
        result = np.zeros(len(history.item_ids), np.float32)
        liked = history.liked
        rows = history.indices[liked]
        near = np.where(self._neighbours[rows] == index, self._similarities[rows], 0).sum(axis=1)
        result[liked] = near * self._recency.of(history)[liked]
        return result


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> ItemKnn:
    """Return the model.

    Raises:
        BundleError: the arrays are not for the shared items.
    """
    neighbours, similarities = need(arrays, "neighbours", "int32", 2), need(arrays, "similarities", "float32", 2)
    items = len(shared["item_ids"])
    if neighbours.shape != similarities.shape or len(neighbours) != items:
        raise BundleError(f"neighbours {neighbours.shape}, similarities {similarities.shape}: {items} items")
    if neighbours.size and not (int(neighbours.min()) >= 0 and int(neighbours.max()) < items):
        raise BundleError(f"neighbours are not indices of {items} items")
    return ItemKnn(neighbours, similarities, RecencyWeights.model_validate(parameters))

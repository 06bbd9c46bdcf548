"""iALS: a viewer's factors are folded in from their history; a film's score is the dot product with them."""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Indices, Recommender
from services.models.fold_in import contributions, fold_in, precompute
from services.models.loader import need
from services.models.recency import RecencyWeights


class Parameters(RecencyWeights):
    """The parameters needed for serving."""

    regularization: float = Field(ge=0)
    alpha: float = Field(gt=0)


class Als:
    """A model with f factors and n films."""

    capabilities = Capabilities(min_likes=1, finds_similar=True, explains=True)

    def __init__(self, item_factors: Floats, user_factors: Floats | None, parameters: Parameters) -> None:
        """``item_factors`` (n, f); ``user_factors`` (u, f) only in bundles of releases that did not fold in everyone.

        Raises:
            numpy.linalg.LinAlgError: the item factors are degenerate.
        """
        self._item_factors = item_factors
        self._user_factors = user_factors
        self._parameters = parameters
        self._basis = precompute(item_factors, parameters.regularization)
        lengths = np.linalg.norm(item_factors, axis=1, keepdims=True)
        # Normalised to length 1 (0 for a film without factors), so that dot products are cosines.
        self._directions = np.divide(item_factors, lengths, out=np.zeros_like(item_factors), where=lengths > 0)
        self._folded: WeakKeyDictionary[History, Floats] = WeakKeyDictionary()

    def score(self, history: History) -> Floats | None:
        """Return the predictions, about 1 for a like; None without a liked film of the bundle."""
        if not len(history.liked):
            return None
        scores: Floats = self._item_factors @ self._factors_of(history)
        return scores

    def _factors_of(self, history: History) -> Floats:
        """Return the viewer's (f,) factors, folded in, or learned from exactly this history."""
        if history.trained_row is not None and self._user_factors is not None:
            learned: Floats = self._user_factors[history.trained_row]
            return learned
        factors = self._folded.get(history)
        if factors is None:
            used, confidence = self._confidence(history)
            factors = fold_in(self._basis, history.indices[used], confidence)
            self._folded[history] = factors
        return factors

    def _confidence(self, history: History) -> tuple[Indices, Floats]:
        """Return the rows that say something, and their signed confidence."""
        used = np.flatnonzero(history.known & (history.weight != 0))
        confidence: Floats = history.weight[used] * self._parameters.of(history)[used]
        return used, confidence * np.float32(self._parameters.alpha)

    def similar(self, index: int) -> Floats | None:
        """Return cosine similarities of the films' factors, −1 to 1; None for a film without learned factors."""
        direction = self._directions[index]
        return self._directions @ direction if bool(direction.any()) else None

    def similarities(self, indices: Indices, others: Indices) -> Floats:
        """Return (len(indices), len(others)) cosine similarities of films by index; 0 for films without factors."""
        result: Floats = self._directions[indices] @ self._directions[others].T
        return result

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return what each liked film adds to the fold-in's score, which is their sum."""
        result = np.zeros(len(history.item_ids), np.float32)
        used, confidence = self._confidence(history)
        result[used] = contributions(self._basis, history.indices[used], confidence, index)
        return result


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> Als:
    """Return the model; O(n f²).

    Raises:
        BundleError: arrays or parameters are not those of an iALS model over the shared axes.
    """
    item_factors = need(arrays, "item_factors", "float32", 2)
    items, users, factors = len(shared["item_ids"]), len(shared["user_ids"]), item_factors.shape[1]
    user_factors: NDArray[np.float32] | None = None
    if "user_factors" in arrays:
        user_factors = need(arrays, "user_factors", "float32", 2)
    if item_factors.shape[0] != items or (user_factors is not None and user_factors.shape != (users, factors)):
        learned = "" if user_factors is None else f" and user_factors {user_factors.shape}"
        raise BundleError(f"item_factors {item_factors.shape}{learned} are not for {items} items and {users} users")
    try:
        return Als(item_factors, user_factors, Parameters.model_validate(parameters))
    except np.linalg.LinAlgError as error:
        raise BundleError(f"the item factors are degenerate: {error}") from error

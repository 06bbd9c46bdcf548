"""iALS: a viewer's factors are folded in from their history; a film's score is the dot product with them."""

from weakref import WeakKeyDictionary

import numpy as np
from pydantic import BaseModel, Field

from services.common.bundle import Arrays, BundleError
from services.inference.models.base import Capabilities, Floats, History
from services.inference.models.fold_in import fold_in, precompute
from services.inference.models.loader import need


class Parameters(BaseModel):
    """The parameters needed for serving."""

    regularization: float = Field(ge=0)
    alpha: float = Field(gt=0)


class Als:
    """A model with f factors, n films and u viewers."""

    capabilities = Capabilities(min_likes=1, finds_similar=True)

    def __init__(self, item_factors: Floats, user_factors: Floats, parameters: Parameters) -> None:
        """``item_factors`` (n, f), ``user_factors`` (u, f).

        Raises:
            numpy.linalg.LinAlgError: the item factors are degenerate.
        """
        self._item_factors = item_factors
        self._user_factors = user_factors
        self._alpha = np.float32(parameters.alpha)
        self._basis = precompute(item_factors, parameters.regularization)
        lengths = np.linalg.norm(item_factors, axis=1, keepdims=True)
        # Normalised to length 1 (0 for a film without factors), so that dot products are cosines.
        self._directions = np.divide(item_factors, lengths, out=np.zeros_like(item_factors), where=lengths > 0)
        self._folded: WeakKeyDictionary[History, Floats] = WeakKeyDictionary()

    def score(self, history: History) -> Floats | None:
        """Return the predictions, 1 for a like; None without a liked film of the bundle."""
        if not history.has_known_likes:
            return None
        scores: Floats = self._item_factors @ self._factors_of(history)
        return scores

    def _factors_of(self, history: History) -> Floats:
        """Return the viewer's (f,) factors: learned from exactly this history, or else folded in."""
        if history.trained_row is not None:
            learned: Floats = self._user_factors[history.trained_row]
            return learned
        factors = self._folded.get(history)
        if factors is None:
            used = history.known & (history.weight != 0)
            factors = fold_in(self._basis, history.indices[used], history.weight[used] * self._alpha)
            self._folded[history] = factors
        return factors

    def similar(self, index: int) -> Floats | None:
        """Return cosine similarities of the films' factors, −1 to 1; None for a film without learned factors."""
        direction = self._directions[index]
        return self._directions @ direction if bool(direction.any()) else None


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays) -> Als:
    """Return the model; O(n f²).

    Raises:
        BundleError: arrays or parameters are not those of an iALS model over the shared axes.
    """
    item_factors, user_factors = need(arrays, "item_factors", "float32", 2), need(arrays, "user_factors", "float32", 2)
    items, users, factors = len(shared["item_ids"]), len(shared["user_ids"]), item_factors.shape[1]
    if item_factors.shape[0] != items or user_factors.shape != (users, factors):
        raise BundleError(
            f"item_factors {item_factors.shape} and user_factors {user_factors.shape} are not for {items} items"
            f" and {users} users"
        )
    try:
        return Als(item_factors, user_factors, Parameters.model_validate(parameters))
    except np.linalg.LinAlgError as error:
        raise BundleError(f"the item factors are degenerate: {error}") from error

"""A weighted sum of other models' scores; the weights depend on how many films the viewer likes.

Scores of different models are not on one scale, so each model's are standardised over the films first: minus their
mean, divided by their standard deviation; counts of likes as ``log(1 + count)``.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender, first_similar
from services.models.loader import need

FEWEST_LIKES = (0, 1, 3, 6, 11, 21, 51)
"""The fewest likes of each amount of history for which there are weights."""


class Parameters(BaseModel):
    """Which models it combines, in the order of the weights."""

    models: list[str]


def amount(likes: int) -> int:
    """Return the position in `FEWEST_LIKES` of a number of likes.

    >>> [amount(likes) for likes in (0, 2, 3, 1000)]
    [0, 1, 2, 6]
    """
    return int(np.searchsorted(FEWEST_LIKES, likes, side="right")) - 1


def standardised(scores: Floats) -> Floats:
    """Return (n,) scores with mean 0 and standard deviation 1; zeros if all are equal."""
    centred = scores - scores.mean()
    deviation = float(np.sqrt(np.mean(centred * centred)))
    result: Floats = centred / np.float32(deviation) if deviation > 0 else centred
    return result


def standardised_scores(models: Sequence[Recommender], history: History) -> list[Floats | None]:
    """Return each model's standardised scores; None where it cannot score the history."""
    scores = [model.score(history) for model in models]
    return [
        None if own is None else standardised(np.log1p(own) if model.capabilities.counts_likes else own)
        for model, own in zip(models, scores, strict=True)
    ]


class Blend:
    """Combines k models."""

    def __init__(self, models: Sequence[Recommender], weights: Floats) -> None:
        """``weights`` (amounts of history, k)."""
        self._models = models
        self._weights = weights
        self.capabilities = Capabilities(
            min_likes=min(model.capabilities.min_likes for model in models),
            finds_similar=any(model.capabilities.finds_similar for model in models),
            explains=any(model.capabilities.explains for model in models),
        )

    def score(self, history: History) -> Floats | None:
        """Return the weighted sum; None if no model can score the history."""
        weights = self._weights[amount(history.likes)]
        parts = [
            weight * own
            for weight, own in zip(weights, standardised_scores(self._models, history), strict=True)
            if own is not None
        ]
        if not parts:
            return None
        result: Floats = np.sum(parts, axis=0, dtype=np.float32)
        return result

    def similar(self, index: int) -> Floats | None:
        """Return the similarities of the first model that has any."""
        return first_similar(self._models, index)

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return the models' contributions, each relative to the spread of its scores, weighted as in the score."""
        total = np.zeros(len(history.item_ids), np.float32)
        for weight, model in zip(self._weights[amount(history.likes)], self._models, strict=True):
            scores, own = model.score(history), model.contributions(history, index)
            if scores is not None and own is not None:
                total += weight * own / max(float(scores.std()), 1e-9)
        return total


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> Blend:
    """Return the model.

    Raises:
        BundleError: the weights are not for the models and amounts of history.
    """
    weights, names = need(arrays, "weights", "float32", 2), Parameters.model_validate(parameters).models
    if weights.shape != (len(FEWEST_LIKES), len(names)) or not names or set(names) - set(used):
        raise BundleError(f"weights {weights.shape} are not for {len(FEWEST_LIKES)} amounts of history of {names}")
    return Blend([used[name] for name in names], weights)

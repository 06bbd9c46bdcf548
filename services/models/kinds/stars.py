"""Predicted stars: how many the viewer would give each film; folded in from the ratings of the whole history."""

from collections.abc import Mapping

import numpy as np

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender
from services.models.stars import StarPredictor


class Stars:
    """The prediction of stars as a model: the films with the highest prediction come first."""

    capabilities = Capabilities()

    def __init__(self, predictor: StarPredictor) -> None:
        """``predictor`` over the bundle's n films."""
        self._predictor = predictor

    def score(self, history: History) -> Floats | None:
        """Return predicted stars, 0.5 to 5; without ratings each film's mean, shrunk."""
        rated = np.flatnonzero(history.known & ~np.isnan(history.stars))
        stars = self._predictor.predict(history.indices[rated], history.stars[rated])
        return np.asarray(stars, np.float32)

    def similar(self, index: int) -> Floats | None:
        """Not available."""
        return None

    def contributions(self, history: History, index: int) -> Floats | None:
        """Not available."""
        return None


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> Stars:
    """Return the model.

    Raises:
        BundleError: the arrays are not those of a predictor over the shared items.
    """
    try:
        predictor = StarPredictor(arrays)
    except ValueError as error:
        raise BundleError(str(error)) from error
    if predictor.items != len(shared["item_ids"]):
        raise BundleError(f"item_base has {predictor.items} films, there are {len(shared['item_ids'])}")
    return Stars(predictor)

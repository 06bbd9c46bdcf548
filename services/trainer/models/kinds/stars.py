"""The prediction of stars, trained on all ratings: see `services.trainer.models.stars`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Arrays
from services.models.viewer import indices_of
from services.trainer.data.dataset import TrainingData
from services.trainer.models import stars
from services.trainer.models.base import Fitted, Replays
from services.trainer.models.stars import Parameters as Parameters  # noqa: PLC0414 - of the recipe

_MEAN_WITHOUT_RATINGS = 3.0


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Train on the ratings of films that anybody likes; without any rating every film gets the middle of the scale."""
    histories = data.histories
    found, known = indices_of(data.item_ids, histories.item_ids)
    rated = known & ~np.isnan(histories.rating)
    if rated.any():
        arrays = stars.fit(
            histories.user_index[rated], found[rated], histories.rating[rated], len(data.user_ids),
            len(data.item_ids), parameters,
        )  # fmt: skip
    else:
        arrays = _nothing_learned(len(data.item_ids))
    return Fitted(arrays, parameters.model_dump(mode="json"))


def _nothing_learned(items: int) -> dict[str, NDArray[Any]]:
    return {
        "item_base": np.full(items, _MEAN_WITHOUT_RATINGS, np.float32),
        "item_factors": np.zeros((items, 1), np.float32),
        "item_variance": np.zeros((items, 1), np.float32),
        "viewer_precision": np.eye(2),
        "calibration": np.array([0.0, 1.0]),
    }


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Films no longer liked get the mean of the others; the rest was learned from all users."""
    base = arrays["item_base"]
    mean = base[liked].mean() if liked.any() else np.float32(_MEAN_WITHOUT_RATINGS)
    return {
        **arrays,
        "item_base": np.where(liked, base, mean).astype(np.float32),
        "item_factors": np.where(liked[:, None], arrays["item_factors"], 0).astype(np.float32),
    }

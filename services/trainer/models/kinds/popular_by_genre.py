"""Recent popularity within the genres that the viewer likes: made of what all models share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from services.common.bundle import Arrays
from services.models.recency import RecencyWeights
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, Replays


class Parameters(RecencyWeights):
    """How much recent likes count among the viewer's genres."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """There is nothing to train."""
    return Fitted({}, parameters.model_dump(mode="json"))


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Nothing to do: the shared counts are recomputed without the users."""
    return {}

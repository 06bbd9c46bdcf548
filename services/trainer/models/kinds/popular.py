"""Popularity: the most liked films for everyone. Its counts are among the bundle's shared arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from services.common.bundle import Arrays
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted


class Parameters(BaseModel):
    """There are no parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def fit(data: TrainingData, parameters: Parameters, *, progress: bool) -> Fitted:
    """There is nothing to train."""
    return Fitted({})


def scores(arrays: Arrays, shared: Arrays, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the same counts for everyone."""
    return np.tile(np.asarray(shared["popularity"], np.float32), (len(users), 1))


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Nothing to do: the shared counts are recomputed without the users."""
    return {}

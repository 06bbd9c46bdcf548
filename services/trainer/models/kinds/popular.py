"""Popularity: the most liked films for everyone, of all time or of the last days of the data."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from services.common.bundle import Arrays
from services.trainer.data.dataset import TrainingData
from services.trainer.data.popularity import popularity
from services.trainer.models.base import Fitted, Replays


class Parameters(BaseModel):
    """The window, and how much all time counts in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_days: int | None = Field(default=None, ge=1, description="None: all time.")
    shrinkage: float = Field(
        default=20, ge=0, description="So many likes, shared out as those of all time are, are added to the window's."
    )


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Count the likes in the window. Those of all time are among the shared arrays of the bundle already."""
    kept = parameters.model_dump(mode="json")
    if parameters.window_days is None:
        return Fitted({}, kept)
    overall = popularity(data)
    share = overall / max(float(overall.sum()), 1)
    recent = popularity(data, recent_days=parameters.window_days)
    return Fitted({"counts": (recent + parameters.shrinkage * share).astype(np.float32)}, kept)


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Films no longer liked lose their counts; the erased viewers' likes of others fade with the next training."""
    return {name: np.where(liked, counts, 0).astype(np.float32) for name, counts in arrays.items()}

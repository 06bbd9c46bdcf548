"""Popularity by age group, gender and occupation: see `services.models.kinds.popular_by_group`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from services.common.bundle import Arrays
from services.trainer.data.dataset import TrainingData
from services.trainer.data.popularity import popularity
from services.trainer.models.base import Fitted, Replays


class Parameters(BaseModel):
    """Which popularity the groups start from, and how much they are trusted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_days: int = Field(default=7, ge=1)
    shrinkage: float = Field(default=20, gt=0, description="κ, in likes.")


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Count each group's likes of all time."""
    overall = popularity(data)
    share = overall / max(float(overall.sum()), 1)
    recent = popularity(data, recent_days=parameters.window_days) + parameters.shrinkage * share
    base = np.log((recent + 1e-6) / max(float(recent.sum()), 1))
    groups = data.demographics.groups_of(data.user_ids)
    positive = data.weight > 0
    films = data.item_index[positive]
    offset, lifts = 0, []
    for column in range(groups.shape[1]):
        known = groups[:, column] >= 0
        values, places = np.unique(groups[known, column], return_inverse=True)
        mine = np.full(len(groups), -1, np.int16)
        mine[known] = places
        of_like = mine[data.user_index[positive]]
        counts = np.zeros((len(values), len(share)))
        np.add.at(counts, (of_like[of_like >= 0], films[of_like >= 0]), 1)
        expected = counts.sum(axis=1, keepdims=True) * share
        lifts.append(np.log((counts + parameters.shrinkage) / (expected + parameters.shrinkage)))
        groups[:, column] = np.where(known, mine + offset, -1)
        offset += len(values)
    arrays = {
        "base": base.astype(np.float32),
        "lifts": np.concatenate([np.zeros((0, len(share))), *lifts]).astype(np.float32),
        "groups": groups,
    }
    return Fitted(arrays, parameters.model_dump(mode="json"))


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Drop the users' groups; films no longer liked sink to the end."""
    least = arrays["base"].min(initial=0)
    return {
        "base": np.where(liked, arrays["base"], least).astype(np.float32),
        "lifts": np.where(liked, arrays["lifts"], 0).astype(np.float32),
        "groups": arrays["groups"][kept],
    }

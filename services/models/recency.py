"""Recency inside a history: recent likes count more than old ones, whenever they were given."""

import numpy as np
from pydantic import BaseModel, Field

from services.models.base import Floats, History


class RecencyWeights(BaseModel):
    """The weight ``1 + boost · decay^age`` of a like, with its age counted in the viewer's later likes.

    Without a boost, as in bundles made before, every like weighs 1.
    """

    recency_boost: float = Field(default=0, ge=0)
    recency_decay: float = Field(default=0.9, gt=0, lt=1)

    def of(self, history: History) -> Floats:
        """Return (m,) the weight of each row of the history; 1 for rows that are not likes."""
        result = np.ones(len(history.item_ids), np.float32)
        if self.recency_boost:
            liked = history.liked
            result[liked] += self.recency_boost * self.recency_decay ** history.later_likes[liked]
        return result

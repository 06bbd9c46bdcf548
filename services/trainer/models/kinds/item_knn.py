"""Item-based nearest neighbours by implicit: cosine of the films' columns of likes, weighted by TF-IDF."""

from typing import Any

import numpy as np
from implicit.nearest_neighbours import TFIDFRecommender
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from services.common.bundle import Arrays
from services.models.recency import RecencyWeights
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, Replays


class Parameters(RecencyWeights):
    """Equal parameters on equal data give equal neighbours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neighbours: int = Field(default=100, ge=1)


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Find each film's nearest films; a film is no neighbour of itself."""
    model = TFIDFRecommender(K=parameters.neighbours + 1)  # type: ignore[no-untyped-call]
    likes: Any = data.positive_matrix()
    model.fit(likes.astype(np.float64), show_progress=progress)  # type: ignore[no-untyped-call]
    similarity: Any = model.similarity
    found = similarity.tocsr()
    n, k = len(data.item_ids), parameters.neighbours
    neighbours, similarities = np.zeros((n, k), np.int32), np.zeros((n, k), np.float32)
    for film in range(n):
        row = slice(found.indptr[film], found.indptr[film + 1])
        indices, values = found.indices[row], found.data[row]
        others = np.flatnonzero(indices != film)
        best = others[np.argsort(-values[others], kind="stable")][:k]
        neighbours[film, : len(best)], similarities[film, : len(best)] = indices[best], values[best]
    return Fitted({"neighbours": neighbours, "similarities": similarities}, parameters.model_dump(mode="json"))


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The similarities, learned from all users, stay, except those of films no longer liked."""
    neighbours = arrays["neighbours"]
    still = liked[:, None] & liked[neighbours]
    return {"neighbours": neighbours, "similarities": np.where(still, arrays["similarities"], 0).astype(np.float32)}

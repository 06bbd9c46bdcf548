"""Popularity within the genres that the viewer likes: each genre of theirs proposes its most liked films."""

from collections.abc import Mapping

import numpy as np

from services.common.bundle import Arrays
from services.models.base import Capabilities, Floats, History, Recommender
from services.models.recency import RecencyWeights


class PopularByGenre:
    """Counts of likes, shared out by genre."""

    capabilities = Capabilities(min_likes=1, counts_likes=True)

    def __init__(self, counts: Floats, has_genre: Floats, recency: RecencyWeights) -> None:
        """``counts`` (n,) how many viewers like each film; ``has_genre`` (n, genres) 0 or 1."""
        totals = counts @ has_genre
        self._has_genre = has_genre
        self._shares = has_genre * counts[:, None] / np.maximum(totals, 1)  # of the genre's likes
        self._recency = recency

    def score(self, history: History) -> Floats | None:
        """Return the sum over the film's genres of the viewer's share of likes in it times the film's; in 1/1,000."""
        profile = self._profile(history)
        return None if profile is None else np.asarray(1_000 * (self._shares @ profile), np.float32)

    def similar(self, index: int) -> Floats | None:
        """Not available."""
        return None

    def contributions(self, history: History, index: int) -> Floats | None:
        """Not available: it is the genres that count, not single films."""
        return None

    def _profile(self, history: History) -> Floats | None:
        liked = history.liked
        genres: Floats = self._recency.of(history)[liked] @ self._has_genre[history.indices[liked]]
        total = float(genres.sum())
        return genres / np.float32(total) if total > 0 else None


def load(
    arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]
) -> PopularByGenre:
    """Return the model; counts and genres are shared by all models."""
    genres = shared["item_genres"].astype(np.float32)
    return PopularByGenre(shared["popularity_recent"], genres, RecencyWeights.model_validate(parameters))

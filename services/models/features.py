"""What a ranker sees of a viewer and a film: computed by one function, in the trainer and in the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.models.base import Floats, History, Indices
from services.models.kinds.als import Als

WINDOWS = ("recent", "30", "90", "all")
"""The windows of the films' popularity: the bundle's recent days, 30, 90 days and all time."""
_FILM = (*(f"popularity_{name}" for name in WINDOWS), "age_in_years", "days_since_first_like", "liked_share", "genres")
_VIEWER = ("idle_hours", "likes", "signals", "viewer_liked_share", "likes_in_a_day", "year_deviation")
_BOTH = ("genre_affinity", "year_gap", "near_last", "near_last_three")
_DAY_US, _HOUR_US, _YEAR_US = 86_400e6, 3_600e6, 365.25 * 86_400e6
_DECAY = 0.9


def feature_names(models: Sequence[str]) -> list[str]:
    """Return the names of the columns of `Films.features`."""
    own = [f"{model}_{part}" for part in ("score", "deviation", "rank") for model in models]
    return [*own, *_FILM, *_VIEWER, *_BOTH]


@dataclass(frozen=True)
class Films:
    """What is known about n films, at the end of the training data."""

    popularity: Floats
    """(len(WINDOWS), n) logarithm of the film's share of the likes in each window."""
    years: NDArray[np.int16]
    """(n,) of release; 0: unknown."""
    first_like_us: NDArray[np.uint64]
    """(n,) time of the first like, µs since 1970."""
    liked_share: Floats
    """(n,) share of the signals' givers who like it, shrunk towards the mean of all films."""
    has_genre: NDArray[np.uint8]
    """(n, genres)"""

    @cached_property
    def _genres(self) -> Floats:
        lengths = np.sqrt(np.maximum(self.has_genre.sum(axis=1, keepdims=True), 1))
        directions: Floats = (self.has_genre / lengths).astype(np.float32)
        return directions

    @cached_property
    def _fixed(self) -> Floats:
        """(n, 5): popularity, liked share."""
        return np.ascontiguousarray(np.vstack([self.popularity, self.liked_share]).T, np.float32)

    @cached_property
    def _known_years(self) -> Floats:
        return np.where(self.years > 0, self.years, np.nan).astype(np.float32)

    def features(
        self, history: History, chosen: Indices, scores: Sequence[Floats | None], near: Als | None
    ) -> NDArray[np.float32]:
        """Return (len(chosen), features) for the films ``chosen``, in the order of `feature_names`; NaN: unknown.

        Transposed in memory. The viewer likes at least one film of the bundle. A film's age is that at the time of
        the list.

        Args:
            history: the viewer's.
            chosen: indices of films, not empty.
            scores: (n,) per model, None where it has none.
            near: whose film factors say how near two films are.
        """
        count, models = len(chosen), len(scores)
        columns = np.empty((3 * models + len(_FILM) + len(_VIEWER) + len(_BOTH), count), np.float32)
        for position, own in enumerate(scores):
            columns[position] = np.nan if own is None else own[chosen]
        given = columns[:models]
        centred = given - given.mean(axis=1, keepdims=True)
        columns[models : 2 * models] = centred / (
            np.sqrt(np.mean(centred * centred, axis=1, keepdims=True)) + np.float32(1e-6)
        )
        order = np.argsort(-given, axis=1, kind="stable")
        np.put_along_axis(columns[2 * models : 3 * models], order, np.log1p(np.arange(count, dtype=np.float32)), axis=1)
        at, liked = float(history.at_us), history.liked
        films = history.indices[liked]
        weight: Floats = (_DECAY ** np.arange(len(liked) - 1, -1, -1)).astype(np.float32) + np.float32(0.02)
        weight /= weight.sum()
        years = self._known_years[films]
        dated = ~np.isnan(years)
        share = weight[dated] / max(float(weight[dated].sum()), 1e-9)
        year = float(share @ years[dated]) if dated.any() else np.nan
        profile = weight @ self._genres[films]
        likes_us = history.times_us[liked].astype(np.float64)

        row = 3 * models
        fixed = self._fixed[chosen]
        columns[row : row + 4] = fixed[:, :4].T
        columns[row + 4] = 1970 + at / _YEAR_US - self._known_years[chosen]
        first = self.first_like_us[chosen].astype(np.float64)
        columns[row + 5] = np.log1p(np.maximum(at - first, 0) / _DAY_US)
        columns[row + 6] = fixed[:, 4]
        columns[row + 7] = self.has_genre[chosen].sum(axis=1)
        row += len(_FILM)
        columns[row] = np.log1p(max(at - float(history.times_us[-1]), 0) / _HOUR_US)
        columns[row + 1] = np.log1p(history.likes)
        columns[row + 2] = np.log1p(len(history.item_ids))
        columns[row + 3] = history.likes / len(history.item_ids)
        columns[row + 4] = np.count_nonzero(likes_us > at - _DAY_US)
        columns[row + 5] = np.sqrt(share @ (years[dated] - year) ** 2)
        row += len(_VIEWER)
        columns[row] = self._genres[chosen] @ (profile / max(float(np.linalg.norm(profile)), 1e-9))
        columns[row + 1] = np.abs(self._known_years[chosen] - year)
        if near is None:
            columns[row + 2 :] = np.nan
        else:
            similar = near.similarities(films[-3:], chosen)
            columns[row + 2], columns[row + 3] = similar[-1], similar.mean(axis=0)
        return columns.T

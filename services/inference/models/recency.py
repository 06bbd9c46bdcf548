"""Recent popularity: films liked in the model's recent window, then all others by how long ago they were liked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.confidence import is_positive
from services.contracts.bundle import ConfidenceParameters

_WIDENING = 4
_BLOCK_ROWS = 1 << 20
_MICROSECONDS_PER_DAY = 86_400_000_000


@dataclass(frozen=True)
class Recency:
    """Over the n films of a model; both arrays give the same order, best first, apart from ties."""

    order: NDArray[np.float32]
    """(n,) greater is better, no two alike: ties are broken by popularity of all time, then by id, ascending."""
    scores: NDArray[np.float32]
    """(n,) 1 or more: how many viewers like the film, from a signal in the recent window. Between 0 and 1: none do, and
    the number only gives the order: higher for a film that was liked in a shorter window, and within one window for a
    film that more viewers like. 0: never liked."""


def recency_of(arrays: Mapping[str, NDArray[Any]], recent_days: int, confidence: ConfidenceParameters) -> Recency:
    """Order a bundle's films by the shortest window in which they were liked, then by the number of likes.

    The windows end with the latest like of the bundle's history; they are ``recent_days`` long, 4 times as long, 16
    times, and so on; the last one is all time. The counts of the first and the last are the bundle's own arrays. Reads
    the history in blocks, so that it takes little memory.
    """
    popularity, recent = arrays["popularity"], arrays["popularity_recent"]
    between = _counts_between(arrays, recent_days, confidence)
    counts = np.column_stack([recent, *between, popularity]).astype(np.float64)  # (n, windows)
    liked = counts > 0
    window = np.where(liked.any(axis=1), liked.argmax(axis=1), counts.shape[1])
    count = counts[np.arange(len(counts)), np.minimum(window, counts.shape[1] - 1)]
    best_first = np.lexsort((-popularity.astype(np.float64), -count, window))
    order = np.empty(len(counts), np.float32)
    order[best_first] = np.arange(len(counts), 0, -1)

    longer = counts.shape[1] - 1
    below_1 = (longer - window + count / (count.max(initial=0) + 1)) / longer
    scores = np.where(window == 0, count, np.where(count > 0, below_1, 0)).astype(np.float32)
    return Recency(order, scores)


def _counts_between(
    arrays: Mapping[str, NDArray[Any]], recent_days: int, confidence: ConfidenceParameters
) -> list[NDArray[np.int64]]:
    """Return likes per film, for each window longer than the recent one and shorter than the history."""
    latest, earliest = 0, 1 << 64
    for _, times in _likes(arrays, confidence):
        if len(times):
            latest, earliest = max(latest, int(times.max())), min(earliest, int(times.min()))
    starts = []
    length = recent_days * _MICROSECONDS_PER_DAY * _WIDENING
    while latest - length > earliest:
        starts.append(latest - length)
        length *= _WIDENING
    counts = [np.zeros(len(arrays["item_ids"]), np.int64) for _ in starts]
    for indices, times in _likes(arrays, confidence):
        for position, start in enumerate(starts):
            counts[position] += np.bincount(indices[times >= start], minlength=len(counts[position]))
    return counts


def _likes(
    arrays: Mapping[str, NDArray[Any]], confidence: ConfidenceParameters
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint64]]]:
    """Yield liked films (by index) and the times of their latest signals, in blocks."""
    item_ids = arrays["item_ids"]
    for start in range(0, len(arrays["history_item_ids"]) if len(item_ids) else 0, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        opinion, rating, watched = (arrays[f"history_{name}"][rows] for name in ("opinion", "rating", "watched"))
        liked = np.flatnonzero(is_positive(opinion, rating, watched, confidence))
        ids = arrays["history_item_ids"][rows][liked]
        indices = np.minimum(np.searchsorted(item_ids, ids), len(item_ids) - 1)
        known = item_ids[indices] == ids
        yield indices[known], arrays["history_versions"][rows][liked[known]][:, :, 0].max(axis=1, initial=0)

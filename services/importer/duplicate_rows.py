"""Finds duplicate rows of a file in 8 bytes of memory per row, plus the suspected duplicates."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.importer.rating_rules import Ratings

_FACTORS = tuple(np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_FOLD = np.uint64(29)


@dataclass(frozen=True)
class Duplicates:
    """What was found."""

    repeated: NDArray[np.int64]
    """Numbers of the rows that the next row on the same viewer, film and time repeats, ascending."""
    contradictions: list[tuple[int, int, str]]
    """Of the same viewer, film and time with other stars: the line, the line before, and what it is about."""


class DuplicateRows:
    """Collects a digest of viewer, film and time of each row."""

    def __init__(self) -> None:
        self._digests = np.empty(0, np.uint64)
        self._rows = 0

    def add(self, ratings: Ratings) -> None:
        """Note rows."""
        end = self._rows + len(ratings.user_id)
        if end > len(self._digests):
            self._digests.resize(end + end // 8, refcheck=False)  # in place: no second copy of many
        self._digests[self._rows : end] = _digests(ratings)
        self._rows = end

    def suspects(self) -> NDArray[np.uint64] | None:
        """Return the digests seen more than once, ascending, or None. Nothing can be added afterwards."""
        digests = self._digests[: self._rows]
        digests.sort()
        again = digests[1:][digests[1:] == digests[:-1]]
        self._digests = np.empty(0, np.uint64)
        return np.unique(again) if len(again) else None

    @staticmethod
    def rows_among(ratings: Ratings, suspects: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the positions of the rows with one of the digests."""
        digests = _digests(ratings)
        at = np.minimum(np.searchsorted(suspects, digests), len(suspects) - 1)
        return np.flatnonzero(suspects[at] == digests)

    @staticmethod
    def resolve(suspected: Iterable[tuple[NDArray[np.int64], NDArray[np.int64], Ratings]]) -> Duplicates:
        """Compare the suspected rows, given as numbers, lines and values, in the file's order."""
        parts = list(suspected)
        number, line = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        user, item, stars, time = (
            np.concatenate([getattr(part[2], name) for part in parts])
            for name in ("user_id", "item_id", "rating", "time_us")
        )
        order = np.lexsort((number, time, item, user))
        first, second = order[:-1], order[1:]
        same = (user[first] == user[second]) & (item[first] == item[second]) & (time[first] == time[second])
        repeats = same & (stars[first] == stars[second])
        differ = np.flatnonzero(same & ~repeats)
        contradictions = [
            (int(line[b]), int(line[a]), f"user {user[b]}, item {item[b]}: {stars[b]:g} stars")
            for a, b in zip(first[differ], second[differ], strict=True)
        ]
        return Duplicates(np.sort(number[first[repeats]]), sorted(contradictions))


def _digests(ratings: Ratings) -> NDArray[np.uint64]:
    mixed = np.zeros(len(ratings.user_id), np.uint64)
    for column, factor in zip((ratings.user_id, ratings.item_id, ratings.time_us), _FACTORS, strict=True):
        mixed ^= column.view(np.uint64)
        mixed *= factor
        mixed ^= mixed >> _FOLD
    return mixed

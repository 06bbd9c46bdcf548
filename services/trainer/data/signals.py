"""The extract: one row per (user, item, signal), column by column, and its pivot to one row per (user, item)."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.signals import Signal

KINDS: tuple[Signal, ...] = (Signal.OPINION, Signal.RATING, Signal.WATCHED)
"""The order of the columns in `Histories.versions`, and the codes of `Signals.kind`."""


@dataclass(frozen=True)
class Signals:
    """The latest value of each signal; all arrays are equally long, in no particular order."""

    user_id: NDArray[np.int64]
    item_id: NDArray[np.int64]
    kind: NDArray[np.uint8]
    """Position in `KINDS`."""
    value: NDArray[np.float32]
    time_us: NDArray[np.uint64]
    """Event time, µs since 1970 UTC: the upper half of the signal's version."""
    id_low: NDArray[np.uint64]
    """The lower half of the signal's version."""

    def __len__(self) -> int:
        return len(self.user_id)

    def take(self, mask: NDArray[Any]) -> "Signals":
        """Return the rows that a mask or an index array selects."""
        return Signals(**{f.name: getattr(self, f.name)[mask] for f in fields(self)})

    def save(self, directory: Path) -> None:
        """Write each column as ``<name>.npy``."""
        directory.mkdir(parents=True, exist_ok=True)
        for f in fields(self):
            np.save(directory / f"{f.name}.npy", getattr(self, f.name), allow_pickle=False)

    @classmethod
    def open(cls, directory: Path) -> "Signals":
        """Memory-map what `save` wrote."""
        return cls(
            **{f.name: np.load(directory / f"{f.name}.npy", mmap_mode="r", allow_pickle=False) for f in fields(cls)}
        )


@dataclass(frozen=True)
class Histories:
    """Signals per user: row r of user u lies in [indptr[u], indptr[u+1]), items ascending within a user.

    The arrays are those of the bundle (`services.contracts.bundle.ARRAYS`).
    """

    user_ids: NDArray[np.int64]
    indptr: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    opinion: NDArray[np.int8]
    rating: NDArray[np.float32]
    watched: NDArray[np.uint8]
    versions: NDArray[np.uint64]
    """(rows, 3 signals, 2 [time µs, id low]); 0 where a signal was never given."""

    def __len__(self) -> int:
        return len(self.item_ids)

    def take(self, kept: NDArray[np.bool_]) -> "Histories":
        """Return the rows that a mask selects, and the users who have any of them."""
        counts = np.bincount(self.user_index[kept], minlength=len(self.user_ids))
        left = counts > 0
        return Histories(
            user_ids=self.user_ids[left],
            indptr=np.concatenate(([0], np.cumsum(counts[left]))).astype(np.int64),
            item_ids=self.item_ids[kept],
            opinion=self.opinion[kept],
            rating=self.rating[kept],
            watched=self.watched[kept],
            versions=self.versions[kept],
        )

    @property
    def user_index(self) -> NDArray[np.int64]:
        """Per row the position of its user in ``user_ids``."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.indptr))

    @property
    def time_us(self) -> NDArray[np.uint64]:
        """Per row the time of its latest signal."""
        latest: NDArray[np.uint64] = self.versions[:, :, 0].max(axis=1)
        return latest


def pivot(signals: Signals) -> Histories:
    """Return one row per (user, item), sorted by user, then item.

    Where a signal is given more than once for a (user, item) its greatest version counts.

    >>> s = Signals(np.array([7, 7]), np.array([3, 3]), np.array([0, 1], np.uint8), np.array([1, 4.5], np.float32),
    ...             np.array([10, 20], np.uint64), np.array([1, 2], np.uint64))
    >>> h = pivot(s)
    >>> h.user_ids.tolist(), h.item_ids.tolist(), h.opinion.tolist(), h.rating.tolist(), h.watched.tolist()
    ([7], [3], [1], [4.5], [0])
    """
    order = np.lexsort((signals.id_low, signals.time_us, signals.kind, signals.item_id, signals.user_id))
    user, item, kind = signals.user_id[order], signals.item_id[order], signals.kind[order]
    first = np.ones(len(order), bool)
    first[1:] = (user[1:] != user[:-1]) | (item[1:] != item[:-1])
    row = np.cumsum(first) - 1
    last_of_kind = np.ones(len(order), bool)
    last_of_kind[:-1] = first[1:] | (kind[1:] != kind[:-1])
    rows = int(first.sum())
    dense = np.full((rows, len(KINDS)), np.nan, np.float32)
    versions = np.zeros((rows, len(KINDS), 2), np.uint64)
    at, chosen = (row[last_of_kind], kind[last_of_kind]), order[last_of_kind]
    dense[at] = signals.value[chosen]
    versions[(*at, 0)], versions[(*at, 1)] = signals.time_us[chosen], signals.id_low[chosen]
    user_ids, counts = np.unique(user[first], return_counts=True)
    return Histories(
        user_ids=user_ids.astype(np.int64),
        indptr=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        item_ids=item[first].astype(np.int64),
        opinion=np.nan_to_num(dense[:, 0]).astype(np.int8),
        rating=np.where(dense[:, 1] == 0, np.float32(np.nan), dense[:, 1]),  # 0: withdrawn
        watched=np.nan_to_num(dense[:, 2]).astype(np.uint8),
        versions=versions,
    )

"""A viewer's whole history: the bundle's history merged with the live signals."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from services.inference.history.stamps import unpack
from services.models.viewer import ViewerHistory

_OPINION, _RATING = 0, 1


def is_newer(version: int, held: NDArray[np.uint64]) -> bool:
    """Return whether an event's version is later than ``held``, a (2,) row of ``versions``."""
    return version > (int(held[0]) << 64 | int(held[1]))


def merge_live(history: ViewerHistory, slots: Mapping[int, int]) -> ViewerHistory | None:
    """Return the history updated with newer live signals, or None if there are none.

    Films with only live signals come last, so rows are no longer sorted by id.
    """
    base = history.item_ids
    newer = []
    added: dict[int, int] = {}
    for slot, version in slots.items():
        signal = unpack(slot, version)
        row = int(np.searchsorted(base, signal.item_id))
        if row == len(base) or base[row] != signal.item_id:
            row = added.setdefault(signal.item_id, len(base) + len(added))
        elif not is_newer(signal.version, history.versions[row, signal.signal]):
            continue
        newer.append((row, signal))
    if not newer:
        return None
    merged = _with_room_for(history, list(added))
    for row, signal in newer:
        if signal.signal == _OPINION:
            merged.opinion[row] = int(signal.value)
        elif signal.signal == _RATING:
            merged.rating[row] = signal.value or np.nan  # 0: withdrawn
        else:
            merged.watched[row] = int(signal.value)
        merged.versions[row, signal.signal] = (signal.version >> 64, signal.version & 0xFFFF_FFFF_FFFF_FFFF)
    return merged


def _with_room_for(history: ViewerHistory, item_ids: list[int]) -> ViewerHistory:
    """Return a copy with a row without signals for each of ``item_ids`` at its end."""
    extra = len(item_ids)
    return ViewerHistory(
        np.concatenate([history.item_ids, np.array(item_ids, np.int64)]),
        np.concatenate([history.opinion, np.zeros(extra, np.int8)]),
        np.concatenate([history.rating, np.full(extra, np.nan, np.float32)]),
        np.concatenate([history.watched, np.zeros(extra, np.uint8)]),
        np.concatenate([history.versions, np.zeros((extra, 3, 2), np.uint64)]),
    )

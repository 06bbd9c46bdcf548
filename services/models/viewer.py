"""A viewer's history as a bundle stores it, and as models score it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Arrays
from services.common.confidence import weights
from services.contracts.bundle import ConfidenceParameters
from services.models.base import History, Indices


@dataclass(frozen=True)
class ViewerHistory:
    """One row for each of the n films that the viewer ever gave a signal; do not write to the arrays."""

    item_ids: NDArray[np.int64]
    opinion: NDArray[np.int8]
    """+1, −1, 0."""
    rating: NDArray[np.float32]
    """NaN: not rated."""
    watched: NDArray[np.uint8]
    versions: NDArray[np.uint64]
    """(n, 3, 2) as in the bundle: per signal time in µs and id; 0 means never given."""

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,) whether any signal is set now: liked, disliked, rated or watched. An un-liked film is not seen."""
        result: NDArray[np.bool_] = (self.opinion != 0) | ~np.isnan(self.rating) | (self.watched != 0)
        return result


def history_of(arrays: Arrays, rows: slice | NDArray[np.intp]) -> ViewerHistory:
    """Return the rows of a bundle as they are; without copying if ``rows`` is a slice."""
    return ViewerHistory(
        arrays["history_item_ids"][rows],
        arrays["history_opinion"][rows],
        arrays["history_rating"][rows],
        arrays["history_watched"][rows],
        arrays["history_versions"][rows],
    )


def indices_of(item_ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[Indices, NDArray[np.bool_]]:
    """Return for each of ``wanted`` its index in the ascending ``item_ids``, and whether it is there at all.

    The index of an id that is not there is meaningless, but valid.

    >>> [found.tolist() for found in indices_of(np.array([2, 5, 7]), np.array([5, 9]))]
    [[1, 2], [True, False]]
    """
    found = np.minimum(np.searchsorted(item_ids, wanted), len(item_ids) - 1)
    known: NDArray[np.bool_] = item_ids[found] == wanted
    return found, known


def scored_history(
    viewer: ViewerHistory,
    item_ids: NDArray[np.int64],
    confidence: ConfidenceParameters,
    *,
    user_id: int,
    at_us: int,
    trained_row: int | None = None,
) -> History:
    """Return a viewer's history as models over the films ``item_ids`` (n,), ascending, score it.

    Oldest first, by the latest signal of each film; equal times in the order of the signals' ids.
    """
    latest = np.argmax(viewer.versions[:, :, 0], axis=1)
    versions = viewer.versions[np.arange(len(latest)), latest]
    order = np.lexsort((versions[:, 1], versions[:, 0]))
    ids = viewer.item_ids[order]
    indices, known = indices_of(item_ids, ids)
    return History(
        user_id=user_id,
        item_ids=ids,
        indices=indices,
        known=known,
        seen=viewer.seen[order],
        weight=weights(viewer.opinion, viewer.rating, viewer.watched, confidence)[order],
        stars=viewer.rating[order],
        times_us=versions[order, 0],
        trained_row=trained_row,
        at_us=at_us,
    )

"""The lists that a model gives at moments of the past, made as the service makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.models.base import Floats, Recommender
from services.models.ranking import top_k
from services.trainer.data.moments import Moment

LENGTH = 20


@dataclass(frozen=True)
class Lists:
    """One list per moment, in the order of the moments."""

    item_ids: NDArray[np.int64]
    """(moments, LENGTH) best first; 0 after the end of a shorter list."""
    fell_back: NDArray[np.bool_]
    """(moments,) whether the model could not score the history, so that the fallback did."""


def lists_of(
    recommender: Recommender,
    moments: Sequence[Moment],
    item_ids: NDArray[np.int64],
    fallback: Floats,
    progress: Callable[[], object] = lambda: None,
) -> Lists:
    """Return each moment's best films, without those seen before, of a model over the films ``item_ids`` (n,).

    ``fallback`` (n,) takes the place of scores that the model does not have, as in the service.
    """
    found = np.zeros((len(moments), LENGTH), np.int64)
    fell_back = np.zeros(len(moments), bool)
    for row, moment in enumerate(moments):
        scores = recommender.score(moment.history)
        fell_back[row] = scores is None
        best = top_k(fallback if scores is None else scores, LENGTH, left_out=moment.history.seen_indices)
        found[row, : len(best)] = item_ids[best]
        progress()
    return Lists(found, fell_back)

"""The first of two stages: the films that are worth a closer look."""

from collections.abc import Sequence

import numpy as np

from services.models.base import Floats, History, Indices
from services.models.ranking import lower_bound_of_kth

_MOST = 3


def candidates(scores: Sequence[Floats], history: History, each: int) -> Indices:
    """Return the union of the best films by each of ``scores`` (n,), at least ``each`` of them, without films seen.

    Ascending. Some more than ``each`` are taken, rather than sorted out: see `lower_bound_of_kth`. Between films of
    equal scores the choice is arbitrary, but always the same.
    """
    chosen = np.zeros(len(scores[0]), bool)
    left_out = history.seen_indices
    for own in scores:
        masked = own.copy()
        masked[left_out] = -np.inf
        best = np.flatnonzero(masked >= lower_bound_of_kth(masked, each))
        if len(best) > _MOST * each:  # many films of equal scores, or few films
            best = np.argpartition(masked, -min(each, len(masked)))[-each:]
        chosen[best] = True
    chosen[left_out] = False
    return np.flatnonzero(chosen)

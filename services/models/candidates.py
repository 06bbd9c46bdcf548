"""The first of two stages: the films that are worth a closer look."""

from collections.abc import Sequence

import numpy as np

from services.models.base import Floats, History, Indices


def candidates(scores: Sequence[Floats], history: History, each: int) -> Indices:
    """Return the union of the ``each`` best films by each of ``scores`` (n,), without films seen; ascending.

    Between films of equal scores the choice is arbitrary, but always the same.
    """
    chosen = np.zeros(len(scores[0]), bool)
    left_out = history.seen_indices
    for own in scores:
        masked = own.copy()
        masked[left_out] = -np.inf
        chosen[np.argpartition(masked, -each)[-each:] if each < len(masked) else slice(None)] = True
    chosen[left_out] = False
    return np.flatnonzero(chosen)

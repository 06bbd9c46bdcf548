"""Viewers' histories for tests of models: films by index, with the weights and times that a test cares about."""

from collections.abc import Sequence

import numpy as np

from services.models.base import History

DAY_US = 86_400_000_000
T0 = 1_700_000_000_000_000


def history(
    indices: Sequence[int],
    weight: Sequence[float] | None = None,
    *,
    known: Sequence[bool] | None = None,
    stars: Sequence[float] | None = None,
    user_id: int = 1,
    at_us: int = T0 + 30 * DAY_US,
) -> History:
    """A viewer's films, oldest first, a day apart; each liked and known unless the test says otherwise."""
    n = len(indices)
    return History(
        user_id=user_id,
        item_ids=np.array(indices, np.int64) + 1,
        indices=np.array(indices, np.intp),
        known=np.ones(n, bool) if known is None else np.array(known, bool),
        seen=np.ones(n, bool),
        weight=np.ones(n, np.float32) if weight is None else np.array(weight, np.float32),
        stars=np.full(n, np.nan, np.float32) if stars is None else np.array(stars, np.float32),
        times_us=np.arange(n, dtype=np.uint64) * np.uint64(DAY_US) + np.uint64(T0),
        trained_row=None,
        at_us=at_us,
    )

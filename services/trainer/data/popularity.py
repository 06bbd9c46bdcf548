"""Popularity of items, by RecTools; shared by all models of a bundle."""

from datetime import timedelta

import numpy as np
from numpy.typing import NDArray
from rectools.models import PopularModel

from services.trainer.data.dataset import TrainingData


def popularity(data: TrainingData, *, recent_days: int | None = None) -> NDArray[np.float32]:
    """Return per item the number of users who like it, of all time or of the last days of the data.

    >>> from services.contracts.bundle import ConfidenceParameters
    >>> from services.trainer.data.signals import Signals, pivot
    >>> from services.trainer.data.dataset import training_data
    >>> n, day = 3, 86_400_000_000
    >>> s = Signals(np.array([1, 2, 2]), np.array([10, 10, 20]), np.zeros(n, np.uint8), np.ones(n, np.float32),
    ...             np.array([0, 9 * day, 9 * day], np.uint64), np.arange(n, dtype=np.uint64))
    >>> d = training_data(pivot(s), ConfidenceParameters())
    >>> popularity(d).tolist(), popularity(d, recent_days=7).tolist()
    ([2.0, 1.0], [1.0, 1.0])
    """
    period = None if recent_days is None else timedelta(days=recent_days)
    model = PopularModel(popularity="n_users", period=period)
    model.fit(data.rectools(positive_only=True))
    items, scores = model.popularity_list
    result = np.zeros(len(data.item_ids), np.float32)
    result[items] = scores
    return result

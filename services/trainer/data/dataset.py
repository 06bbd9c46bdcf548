"""Training data from a history, and the time split for evaluation."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
from scipy import sparse

from services.common.confidence import is_positive, weights
from services.contracts.bundle import ConfidenceParameters
from services.trainer.data.signals import History, Signals


@dataclass(frozen=True)
class TrainingData:
    """Training data of the models.

    Rows are the users of the history, all of them; columns are the items with at least one positive. Both axes ascend,
    and are the axes of the bundle.
    """

    user_ids: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    user_index: NDArray[np.int64]
    item_index: NDArray[np.int64]
    weight: NDArray[np.float32]
    """Signed, never 0: see `services.common.confidence`."""
    time_us: NDArray[np.uint64]

    @property
    def positives(self) -> int:
        """The number of positive rows."""
        return int(np.count_nonzero(self.weight > 0))

    def matrix(self) -> sparse.csr_matrix:
        """Return the signed weights as (users, items)."""
        shape = (len(self.user_ids), len(self.item_ids))
        return sparse.csr_matrix((self.weight, (self.user_index, self.item_index)), shape=shape)  # type: ignore[no-untyped-call]

    def rectools(self, *, positive_only: bool) -> Dataset:
        """Return RecTools' view of the data, internal ids equal to the positions on our axes.

        ``positive_only`` is for popularity, where a dislike must not count.
        """
        chosen = self.weight > 0 if positive_only else slice(None)
        frame = pd.DataFrame(
            {
                Columns.User: self.user_index[chosen],
                Columns.Item: self.item_index[chosen],
                Columns.Weight: self.weight[chosen].astype(np.float64),
                Columns.Datetime: self.time_us[chosen].astype("datetime64[us]").astype("datetime64[ns]"),
            }
        )
        return Dataset(IdMap(self.user_ids), IdMap(self.item_ids), Interactions(frame))


def training_data(history: History, parameters: ConfidenceParameters) -> TrainingData:
    """Weight the history and drop neutral rows and films without a positive."""
    weight = weights(history.opinion, history.rating, history.watched, parameters)
    item_ids = np.unique(history.item_ids[weight > 0])
    kept = (weight != 0) & np.isin(history.item_ids, item_ids)
    return TrainingData(
        user_ids=history.user_ids,
        item_ids=item_ids,
        user_index=history.user_index[kept],
        item_index=np.searchsorted(item_ids, history.item_ids[kept]),
        weight=weight[kept],
        time_us=history.time_us[kept],
    )


def has_positive(data: TrainingData) -> NDArray[np.bool_]:
    """Return for each user (u,) whether they have a positive."""
    found = np.zeros(len(data.user_ids), bool)
    found[data.user_index[data.weight > 0]] = True
    return found


def split_by_time(signals: Signals, test_share: float) -> tuple[Signals, Signals]:
    """Return the signals before and after a cut in time, the latter about ``test_share`` of all.

    Signals of the same microsecond stay on one side, so nothing in the training part is later than anything in the
    test part. The extract holds the latest value of each signal, so a rating that was changed after the cut is only in
    the test part.

    Raises:
        ValueError: ``test_share`` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share}")
    if len(signals) == 0:
        return signals, signals
    position = min(int(len(signals) * (1 - test_share)), len(signals) - 1)
    cut = np.partition(signals.time_us, position)[position]
    late = signals.time_us >= cut
    return signals.take(~late), signals.take(late)


def seen_matrix(history: History, user_ids: NDArray[np.int64], item_ids: NDArray[np.int64]) -> sparse.csr_matrix:
    """Return 1 where a user has given a film any signal, as (users, items) over the given ascending axes."""
    users = history.user_ids[history.user_index]
    kept = np.isin(users, user_ids) & np.isin(history.item_ids, item_ids)
    rows, columns = np.searchsorted(user_ids, users[kept]), np.searchsorted(item_ids, history.item_ids[kept])
    shape = (len(user_ids), len(item_ids))
    return sparse.csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=shape)  # type: ignore[no-untyped-call]


def liked(history: History, parameters: ConfidenceParameters) -> pd.DataFrame:
    """Return the (user_id, item_id) pairs that the history is positive about."""
    positive = is_positive(history.opinion, history.rating, history.watched, parameters)
    users, items = history.user_ids[history.user_index[positive]], history.item_ids[positive]
    return pd.DataFrame({Columns.User: users, Columns.Item: items})

"""Training data from viewers' histories."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools import Columns
from rectools.dataset import Dataset, IdMap, Interactions
from scipy import sparse

from services.common.confidence import weights
from services.contracts.bundle import ConfidenceParameters
from services.trainer.data.catalogue import NO_CATALOGUE, Catalogue
from services.trainer.data.demographics import NO_DEMOGRAPHICS, Demographics
from services.trainer.data.signals import Histories


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
    histories: Histories
    """What it was made from."""
    confidence: ConfidenceParameters
    catalogue: Catalogue
    demographics: Demographics

    def before(self, at_us: int) -> "TrainingData":
        """Return the training data of what happened before a time."""
        early = self.histories.take(self.histories.time_us < at_us)
        return training_data(early, self.confidence, self.catalogue, self.demographics)

    @property
    def positives(self) -> int:
        """The number of positive rows."""
        return int(np.count_nonzero(self.weight > 0))

    def matrix(self) -> sparse.csr_matrix:
        """Return the signed weights as (users, items)."""
        shape = (len(self.user_ids), len(self.item_ids))
        return sparse.csr_matrix((self.weight, (self.user_index, self.item_index)), shape=shape)  # type: ignore[no-untyped-call]

    def positive_matrix(self) -> sparse.csr_matrix:
        """Return 1 where a user likes an item, as (users, items)."""
        positive = self.weight > 0
        shape = (len(self.user_ids), len(self.item_ids))
        ones = np.ones(int(np.count_nonzero(positive)), np.float32)
        return sparse.csr_matrix((ones, (self.user_index[positive], self.item_index[positive])), shape=shape)  # type: ignore[no-untyped-call]

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


def training_data(
    history: Histories,
    parameters: ConfidenceParameters,
    catalogue: Catalogue = NO_CATALOGUE,
    demographics: Demographics = NO_DEMOGRAPHICS,
) -> TrainingData:
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
        histories=history,
        confidence=parameters,
        catalogue=catalogue,
        demographics=demographics,
    )


def has_positive(data: TrainingData) -> NDArray[np.bool_]:
    """Return for each user (u,) whether they have a positive."""
    found = np.zeros(len(data.user_ids), bool)
    found[data.user_index[data.weight > 0]] = True
    return found

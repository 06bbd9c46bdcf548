"""Metrics of lists, by RecTools, as means over the moments; and the same figures per moment.

NDCG divides by the best that is achievable, the ideal list over min(|T|, k) films (``divide_by_achievable=True``;
RecTools' default divides by k films always).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    AvgRecPopularity,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    PairwiseHammingDistanceCalculator,
    Precision,
    Recall,
)
from rectools.metrics.classification import SimpleClassificationMetric

from services.trainer.data.dataset import TrainingData
from services.trainer.data.moments import Moment
from services.trainer.evaluation.lists import Lists

LENGTHS = (5, 10, 20)
K = 10
"""The length of the lists that are shown, and that the gate judges."""
_DIVERSITY_LISTS = 500
"""Diversity is the mean of so many lists only, as it takes longer than all other metrics together."""


@dataclass(frozen=True)
class Measured:
    """The metrics of one model's lists. ``ndcg@10`` and the like; the lengths are `LENGTHS`."""

    per_moment: dict[str, NDArray[np.float64]]
    """(moments,) by name: hit_rate, ndcg, recall, precision, map, mrr."""
    of_all: dict[str, float]
    """By name: coverage, novelty, diversity, popularity."""

    def means(self, chosen: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Return the means of ``per_moment``, over all moments or the chosen ones; NaN without any."""
        return {
            name: float(np.mean(values if chosen is None else values[chosen])) if len(values) else float("nan")
            for name, values in self.per_moment.items()
        }


def measure(lists: Lists, moments: Sequence[Moment], data: TrainingData) -> Measured:
    """Measure lists against what the viewers liked; ``data`` is what the model was trained on.

    Coverage is the share of the known films that appear in any list; novelty the mean inverse user frequency (Castells,
    Hurley & Vargas, 2015); diversity the mean share of genres in which two films of a list differ; popularity the mean
    share of viewers who like a listed film.
    """
    counts = [len(moment.targets) for moment in moments]
    truth = pd.DataFrame(
        {
            Columns.User: np.repeat(np.arange(len(moments)), counts),
            Columns.Item: np.concatenate([np.empty(0, np.int64), *(moment.targets for moment in moments)]),
        }
    )
    rows, ranks = np.nonzero(lists.item_ids)
    given = pd.DataFrame({Columns.User: rows, Columns.Item: lists.item_ids[rows, ranks], Columns.Rank: ranks + 1})
    per_moment = {}
    for k in LENGTHS:
        metrics: dict[str, SimpleClassificationMetric | MAP | MRR | NDCG] = {
            "hit_rate": HitRate(k), "ndcg": NDCG(k, divide_by_achievable=True), "recall": Recall(k),
            "precision": Precision(k), "map": MAP(k), "mrr": MRR(k),
        }  # fmt: skip
        for name, metric in metrics.items():
            values = metric.calc_per_user(given, truth).reindex(np.arange(len(moments)), fill_value=0)
            per_moment[f"{name}@{k}"] = values.to_numpy(np.float64)
    return Measured(per_moment, _of_all(given, data))


def _of_all(given: pd.DataFrame, data: TrainingData) -> dict[str, float]:
    positive = data.weight > 0
    before = pd.DataFrame(
        {
            Columns.User: data.user_ids[data.user_index[positive]],
            Columns.Item: data.item_ids[data.item_index[positive]],
        }
    )
    genres, has_genre = data.catalogue.genres_of(data.item_ids)
    far = PairwiseHammingDistanceCalculator(pd.DataFrame(has_genre, index=data.item_ids, columns=genres or None))
    figures: dict[str, float] = {}
    for k in LENGTHS:
        shown = given[given[Columns.Rank] <= k]
        figures |= {
            f"coverage@{k}": CatalogCoverage(k, normalize=True).calc(shown, data.item_ids),
            f"novelty@{k}": MeanInvUserFreq(k).calc(shown, before),
            f"popularity@{k}": AvgRecPopularity(k).calc(shown, before) / max(len(data.user_ids), 1),
        }
    if genres and len(given):
        few = given[given[Columns.User] < _DIVERSITY_LISTS]
        figures[f"diversity@{K}"] = IntraListDiversity(K, far).calc(few) / len(genres)
    return {name: float(value) for name, value in figures.items()}

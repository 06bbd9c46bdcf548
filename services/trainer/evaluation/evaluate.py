"""Evaluates models on a later part of the data: full catalogue, no sampled negatives, seen films left out.

**Who is measured.** Users with at least one film in the test part that they are positive about and
had no signal for before, and with at least one signal in the training part. A test film that the
training part does not know counts against every model: nobody could have recommended it.

**Metrics** are RecTools', as means over those users, at k. NDCG divides by the best that is achievable,
the ideal list over min(|T|, k) films (``divide_by_achievable=True``; RecTools' default divides by k films
always). Ties of scores are broken by item id, ascending, for every model alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    CatalogCoverage,
    HitRate,
    MeanInvUserFreq,
    Precision,
    Recall,
    calc_metrics,
)
from scipy import sparse

from services.trainer.data.dataset import TrainingData, liked, seen_matrix, training_data
from services.trainer.data.popularity import popularity
from services.trainer.data.signals import History
from services.trainer.engines import local
from services.trainer.models.base import Scorer, scorer
from services.trainer.models.recipe import Recipe

K = 10
BATCH_USERS = 512


@dataclass(frozen=True)
class Evaluation:
    """The evaluation: metrics per model, and the number of users."""

    users: int
    metrics: dict[str, dict[str, float]]
    ndcg: dict[str, NDArray[np.float64]]
    """Per model NDCG of each user, the users ascending: its mean is the metric."""


def evaluate(
    train: History, test: History, recipes: Mapping[str, Recipe], *, k: int = K, recent_days: int | None = None
) -> Evaluation:
    """Train each recipe's default model on ``train``; measure it on ``test``, beside popularity and recent popularity.

    The models are named as in ``recipes``, whose first recipe defines what counts as liked. Without users to evaluate,
    ``users`` is 0 and there are no metrics.

    Raises:
        ValueError: no recipe was given.
    """
    if not recipes:
        raise ValueError("evaluate needs at least one recipe")
    judge = next(iter(recipes.values()))
    data = training_data(train, judge.confidence)
    users, truth = _truth(train, test, judge)
    if len(users) == 0 or len(data.item_ids) == 0:
        return Evaluation(0, {}, {})
    scorers: dict[str, Scorer] = {
        "popular": _constant(popularity(data)),
        "popular_recent": _constant(popularity(data, recent_days=recent_days or judge.recent_days)),
    }
    seen = seen_matrix(train, users, data.item_ids)
    measured = {name: _measure(top_k(s, users, data, seen, k), truth, data, k) for name, s in scorers.items()}
    for name, recipe in recipes.items():
        own = data if recipe.confidence == judge.confidence else training_data(train, recipe.confidence)
        own_seen = seen if own is data else seen_matrix(train, users, own.item_ids)
        model = recipe.models[recipe.default_model]
        fitted = local.fit(own, {name: model})[name]
        score = scorer(model.kind, fitted.arrays, {"popularity": popularity(own)})
        lists = top_k(score, users, own, own_seen, k)
        measured[name] = _measure(lists, truth, data, k)
    return Evaluation(
        len(users),
        {name: metrics for name, (metrics, _) in measured.items()},
        {name: ndcg for name, (_, ndcg) in measured.items()},
    )


def top_k(score: Scorer, users: NDArray[np.int64], data: TrainingData, seen: sparse.csr_matrix, k: int) -> pd.DataFrame:
    """Return the k best unseen items of each user, as RecTools' (user_id, item_id, rank) rows.

    Args:
        score: the model.
        users: ids, ascending, all of them on the training axis.
        data: whose axes the model has.
        seen: (len(users), items), what to leave out.
        k: length of a list; shorter where a user has seen nearly everything.
    """
    positions = np.searchsorted(data.user_ids, users)
    width = min(k, len(data.item_ids))
    parts = []
    for start in range(0, len(users), BATCH_USERS):
        batch = slice(start, start + BATCH_USERS)
        scores = score(positions[batch])
        scores[seen[batch].nonzero()] = -np.inf
        best = _best(scores, width)
        rows = np.arange(len(best))[:, None]
        valid = np.isfinite(scores[rows, best])
        parts.append(
            pd.DataFrame(
                {
                    Columns.User: np.repeat(users[batch], width)[valid.ravel()],
                    Columns.Item: data.item_ids[best][valid],
                    Columns.Rank: np.broadcast_to(np.arange(1, width + 1), best.shape)[valid],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _best(scores: NDArray[np.float32], width: int) -> NDArray[np.int64]:
    """Return per row the columns of the ``width`` greatest scores, best first, ties by column."""
    if width < scores.shape[1]:
        threshold = -np.partition(-scores, width - 1, axis=1)[:, width - 1 : width]
        # Of the columns that tie at the threshold the first ones count; a partition alone would pick any.
        above, ties = scores > threshold, scores == threshold
        room = width - above.sum(axis=1, keepdims=True)
        chosen = above | (ties & (np.cumsum(ties, axis=1) <= room))
        columns = np.nonzero(chosen)[1].reshape(len(scores), width)
    else:
        columns = np.broadcast_to(np.arange(width), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _constant(scores: NDArray[np.float32]) -> Scorer:
    return lambda users: np.tile(scores, (len(users), 1))


def _truth(train: History, test: History, judge: Recipe) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the users to evaluate, ascending, and their relevant (user_id, item_id) pairs."""
    pairs = liked(test, judge.confidence)
    pairs = pairs[pairs[Columns.User].isin(train.user_ids)]
    known = pd.DataFrame({Columns.User: train.user_ids[train.user_index], Columns.Item: train.item_ids})
    known = known[known[Columns.User].isin(pairs[Columns.User])]
    merged = pairs.merge(known, how="left", on=[Columns.User, Columns.Item], indicator=True)
    truth = merged.loc[merged["_merge"] == "left_only", [Columns.User, Columns.Item]]
    return np.unique(truth[Columns.User].to_numpy(np.int64)), truth


def _measure(
    lists: pd.DataFrame, truth: pd.DataFrame, data: TrainingData, k: int
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return the metrics, and NDCG of each user of ``truth``, ascending."""
    before = pd.DataFrame({Columns.User: data.user_ids[data.user_index], Columns.Item: data.item_ids[data.item_index]})
    metrics = {
        "hit_rate": HitRate(k),
        "ndcg": NDCG(k, divide_by_achievable=True),
        "recall": Recall(k),
        "precision": Precision(k),
        "map": MAP(k),
        "mrr": MRR(k),
        "coverage": CatalogCoverage(k, normalize=True),
        "novelty": MeanInvUserFreq(k),
    }
    values = calc_metrics(metrics, lists, truth, prev_interactions=before, catalog=data.item_ids)
    ndcg = NDCG(k, divide_by_achievable=True).calc_per_user(lists, truth).sort_index()
    return {name: float(values[name]) for name in metrics}, ndcg.to_numpy(np.float64)

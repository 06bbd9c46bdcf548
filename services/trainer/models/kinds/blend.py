"""A weighted sum of other models' scores, with weights per amount of history learned from the past replayed.

The weights of one amount of history maximise the likelihood of the films liked next, a conditional logit model
(McFadden, 1974): ``Σ log softmax(Σ_k w_k z_k)[liked] − ridge · |w − w_all|²``, where ``w_all`` are the weights of all
amounts together, so that an amount with few lists stays near what is true of everyone. The softmax is over that film
and others drawn uniformly at random, which gives the same weights as all films would (McFadden, 1978).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize

from services.common.bundle import Arrays
from services.contracts.bundle import Name
from services.models.kinds.blend import FEWEST_LIKES, amount, standardised_scores
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, Replay, Replays

_DRAWN = 500
_SEED = 20_261_127


class Parameters(BaseModel):
    """Equal parameters on equal data give equal weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[Name] = Field(default=["als", "ease", "popular"], min_length=1)
    ridge: float = Field(default=20, gt=0, description="How many lists it takes to leave the weights of everyone.")


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Learn the weights from every replay; equal weights without anything to learn from."""
    lists: list[list[NDArray[np.float32]]] = [[] for _ in FEWEST_LIKES]
    for replay in replays.of(parameters.models):
        _collect(replay, parameters, lists)
    everyone = [part for parts in lists for part in parts]
    equal = np.full(len(parameters.models), 1.0)
    overall = _weights(everyone, equal, 1.0) if everyone else equal
    weights = np.stack([_weights(parts, overall, parameters.ridge) if parts else overall for parts in lists])
    return Fitted({"weights": weights.astype(np.float32)}, parameters.model_dump(mode="json"))


def _collect(replay: Replay, parameters: Parameters, lists: list[list[NDArray[np.float32]]]) -> None:
    """Add for each list whose next liked film is known: (films, k) scores, that film first."""
    random = np.random.default_rng(_SEED)
    models = [replay.models[name] for name in parameters.models]
    for moment in replay.moments:
        target = np.flatnonzero(np.isin(replay.data.item_ids, moment.targets))
        if not moment.is_next or not len(target):
            continue
        scores = standardised_scores(models, moment.history)
        drawn = random.integers(len(replay.data.item_ids), size=_DRAWN)
        others = drawn[(drawn != target[0]) & ~np.isin(drawn, moment.history.seen_indices)]
        chosen = np.concatenate([target, others])
        columns = [np.zeros(len(chosen), np.float32) if own is None else own[chosen] for own in scores]
        lists[amount(moment.history.likes)].append(np.column_stack(columns))


def _weights(lists: list[NDArray[np.float32]], towards: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return the (k,) non-negative weights that maximise the likelihood of each list's first film."""
    rows, starts = np.concatenate(lists), np.cumsum([0, *(len(part) for part in lists[:-1])])
    whose = np.repeat(np.arange(len(lists)), [len(part) for part in lists])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores = rows @ weights
        scores -= np.maximum.reduceat(scores, starts)[whose]
        odds = np.exp(scores)
        total = np.add.reduceat(odds, starts)
        expected = np.add.reduceat(rows * (odds / total[whose])[:, None], starts, axis=0)
        away = weights - towards
        value = float(np.sum(np.log(total) - scores[starts]) + ridge * away @ away)
        return value, (expected - rows[starts]).sum(axis=0) + 2 * ridge * away

    found = minimize(  # type: ignore[no-untyped-call]
        loss, towards, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(towards)
    )
    return np.asarray(found.x, np.float64)


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Nothing to do: the weights say nothing of any single user."""
    return dict(arrays)

"""Trains a recipe's models one after the other, each by the engine: this machine, or Spark."""

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from services.common.bundle import Arrays
from services.contracts.bundle import ModelEntry
from services.models.base import Recommender
from services.models.loader import in_order, load_recommenders
from services.trainer.data.dataset import TrainingData
from services.trainer.data.moments import Moment, Timelines, at_the_end, before_each_like
from services.trainer.data.shared import shared_arrays
from services.trainer.models.base import Engine, Fitted, Replay, fit_model
from services.trainer.models.recipe import ModelRecipe, Recipe

log = logging.getLogger(__name__)

REPLAYED_FROM = (0.6, 0.8)
"""Shares of the signals: each replay trains on the signals before one of them, and replays those until the next."""
REPLAYED_VIEWERS = 3_000
REPLAYED_LIKES = 6
_SEED = 20_261_127


def fit(
    data: TrainingData, recipe: Recipe, *, only: str | None = None, engine: Engine = fit_model, progress: bool = False
) -> dict[str, Fitted]:
    """Train the recipe's models on ``data``, or ``only`` one of them with those that it uses; by name.

    Blocks, for minutes on large data.

    Raises:
        UnknownKindError: a model is of a kind that this release does not have.
    """
    replays = LocalReplays(data, recipe, engine)
    fitted = {}
    for name in _needed(recipe.models, only):
        started = time.perf_counter()
        fitted[name] = engine(data, recipe.models[name], replays, progress=progress)
        if progress:
            log.info("a model is trained", extra={"model": name, "seconds": round(time.perf_counter() - started, 3)})
    return fitted


def entries(recipe: Recipe, parameters: Mapping[str, dict[str, Any]]) -> dict[str, ModelEntry]:
    """Return the manifest's entries of models trained with ``parameters``, without canaries."""
    return {
        name: ModelEntry(kind=recipe.models[name].kind, parameters=own, uses=recipe.models[name].uses)
        for name, own in parameters.items()
    }


def recommenders(data: TrainingData, recipe: Recipe, fitted: Mapping[str, Fitted]) -> dict[str, Recommender]:
    """Return trained models as the service would load them from a bundle."""
    _, shared = shared_arrays(data, recipe.recent_days)
    return _loaded(recipe, fitted, shared)


def _loaded(recipe: Recipe, fitted: Mapping[str, Fitted], shared: Arrays) -> dict[str, Recommender]:
    named = entries(recipe, {name: model.parameters for name, model in fitted.items()})
    return load_recommenders(named, {name: model.arrays for name, model in fitted.items()}, shared)


class LocalReplays:
    """Trains models on early parts of the data when they are first asked for, and keeps them."""

    def __init__(self, data: TrainingData, recipe: Recipe, engine: Engine) -> None:
        self._data = data
        self._recipe = recipe
        self._engine = engine
        self._parts: list[tuple[TrainingData, Arrays, list[Moment]]] | None = None
        self._fitted: list[dict[str, Fitted]] = []

    def of(self, models: Sequence[str]) -> list[Replay]:
        """Return a replay for each of `REPLAYED_FROM` that has anything to train on and to replay."""
        if self._parts is None:
            self._parts = self._cut()
            self._fitted = [{} for _ in self._parts]
        replays = []
        for (early, shared, moments), fitted in zip(self._parts, self._fitted, strict=True):
            for name in models:
                if name not in fitted:
                    fitted.update(fit(early, self._recipe, only=name, engine=self._engine))
            replays.append(Replay(early, shared, _loaded(self._recipe, fitted, shared), moments))
        return replays

    def _cut(self) -> list[tuple[TrainingData, Arrays, list[Moment]]]:
        data = self._data
        times = data.histories.time_us
        if not len(times):
            return []
        ends = [int(t) for t in np.quantile(times, REPLAYED_FROM)] + [int(times.max()) + 1]
        whole = Timelines(data.histories, data.confidence)
        parts: list[tuple[TrainingData, Arrays, list[Moment]]] = []
        for start, end in pairwise(ends):
            early = data.before(start)
            if not len(early.item_ids):
                continue
            random = np.random.default_rng(_SEED)
            users = [u for u in random.permutation(len(data.user_ids)) if len(whole.likes(u, start, end))]
            users = users[:REPLAYED_VIEWERS]
            late = Timelines(data.histories.take((times >= start) & (times < end)), data.confidence)
            moments = [
                *at_the_end(
                    Timelines(early.histories, data.confidence), late, data.user_ids[users], early.item_ids, start
                ),
                *before_each_like(whole, early.item_ids, users, start, end, per_user=REPLAYED_LIKES, random=random),
            ]
            if moments:
                _, shared = shared_arrays(early, self._recipe.recent_days)
                parts.append((early, shared, moments))
        return parts


def _needed(models: Mapping[str, ModelRecipe], only: str | None) -> list[str]:
    """Return the models to train, each after those that it uses."""
    order = in_order({name: model.uses for name, model in models.items()})
    if only is None:
        return order
    needed = {only}
    for name in reversed(order):
        if name in needed:
            needed |= set(models[name].uses)
    return [name for name in order if name in needed]

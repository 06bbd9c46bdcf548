"""Trains on this machine, one model after the other."""

import logging
import time
from collections.abc import Mapping

from threadpoolctl import threadpool_limits

from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, kind_of
from services.trainer.models.recipe import ModelRecipe

log = logging.getLogger(__name__)


def fit(data: TrainingData, models: Mapping[str, ModelRecipe], *, progress: bool = False) -> dict[str, Fitted]:
    """Train each model on ``data``; by name. Blocks, for minutes on large data.

    BLAS runs on one thread meanwhile: beside implicit's own threads, more of them make training many times slower.

    Raises:
        UnknownKindError: a model is of a kind that this release does not have.
    """
    fitted = {}
    for name, recipe in models.items():
        kind, started = kind_of(recipe.kind), time.perf_counter()
        with threadpool_limits(limits=1, user_api="blas"):  # type: ignore[no-untyped-call]
            parameters = kind.Parameters.model_validate(recipe.parameters)
            fitted[name] = kind.fit(data, parameters, progress=progress)
        if progress:
            log.info("a model is trained", extra={"model": name, "seconds": round(time.perf_counter() - started, 3)})
    return fitted

"""The models: iALS and popularity, both RecTools'."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rectools.models import ImplicitALSWrapperModel, PopularModel
from threadpoolctl import threadpool_limits

from services.contracts.bundle import ConfidenceParameters
from services.trainer.dataset import TrainingData


class Recipe(BaseModel):
    """Everything that, with the data, determines a model. Equal recipes on equal data give equal factors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=128, ge=1)
    alpha: float = Field(default=3.0, gt=0)
    regularization: float | None = Field(default=None, ge=0, description="None: `regularization_for` the data.")
    iterations: int = Field(default=15, ge=1)
    seed: int = 42
    recent_days: int = Field(default=7, ge=1)
    confidence: ConfidenceParameters = ConfidenceParameters()

    def regularization_on(self, data: TrainingData) -> float:
        """Return the regularization that this recipe means for ``data``."""
        return regularization_for(data.positives) if self.regularization is None else self.regularization


@dataclass(frozen=True)
class Factors:
    """What iALS learns, over the axes of the training data."""

    users: NDArray[np.float32]
    """(n_users, factors); zero for users without a positive."""
    items: NDArray[np.float32]
    """(n_items, factors)"""


def regularization_for(positives: int) -> float:
    """Return 1.85 * positives^(1/4), the regularization that fits MovieLens of different sizes with alpha 3.

    Measured with `tests/bench/quality.py`: the best range moves from 25-30 on MovieLens 100K (44,000
    positives) to 45-60 on 1M (460,000). implicit's default of 0.01 loses to popularity on both.

    >>> [round(regularization_for(n)) for n in (44_000, 460_000, 16_000_000)]
    [27, 48, 117]
    """
    return float(1.85 * max(positives, 1) ** 0.25)


def train_ials(data: TrainingData, recipe: Recipe, *, progress: bool = False) -> Factors:
    """Fit iALS (conjugate gradient) on the signed weights; deterministic, whatever the number of threads.

    A negative weight means "not liked" with the confidence of its size (see implicit's `fit`);
    RecTools hands weights through as they are. BLAS runs on one thread meanwhile: beside implicit's own
    threads, more of them make training many times slower.
    """
    with threadpool_limits(limits=1, user_api="blas"):  # type: ignore[no-untyped-call]
        model = ImplicitALSWrapperModel(
            AlternatingLeastSquares(  # type: ignore[no-untyped-call]
                factors=recipe.factors,
                alpha=recipe.alpha,
                regularization=recipe.regularization_on(data),
                iterations=recipe.iterations,
                use_cg=True,
                random_state=recipe.seed,
            ),
            verbose=int(progress),
        )
        model.fit(data.rectools(positive_only=False))
    users, items = model.get_vectors()
    has_positive = np.zeros(len(data.user_ids), bool)
    has_positive[data.user_index[data.weight > 0]] = True
    return Factors(np.where(has_positive[:, None], users, 0).astype(np.float32), np.asarray(items, np.float32))


def popularity(data: TrainingData, *, recent_days: int | None = None) -> NDArray[np.float32]:
    """Return per item the number of users who like it, of all time or of the last days of the data.

    >>> from services.trainer.signals import Signals, pivot
    >>> from services.trainer.dataset import training_data
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

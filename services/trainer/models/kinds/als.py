"""iALS (Hu, Koren & Volinsky, 2008) by RecTools and implicit."""

from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rectools.models import ImplicitALSWrapperModel

from services.common.bundle import Arrays
from services.trainer.data.dataset import TrainingData, has_positive
from services.trainer.models.base import Fitted


class Parameters(BaseModel):
    """Equal parameters on equal data give equal factors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=128, ge=1)
    alpha: float = Field(default=3.0, gt=0)
    regularization: float | None = Field(default=None, ge=0, description="None: `regularization_for` the data.")
    iterations: int = Field(default=15, ge=1)
    seed: int = 42


def regularization_for(positives: int) -> float:
    """Return 1.85 * positives^(1/4), the regularization that fits MovieLens of different sizes with alpha 3.

    Measured with `tests/bench/quality.py`: the best range moves from 25-30 on MovieLens 100K (44,000
    positives) to 45-60 on 1M (460,000). implicit's default of 0.01 loses to popularity on both.

    >>> [round(regularization_for(n)) for n in (44_000, 460_000, 16_000_000)]
    [27, 48, 117]
    """
    return float(1.85 * max(positives, 1) ** 0.25)


def fit(data: TrainingData, parameters: Parameters, *, progress: bool) -> Fitted:
    """Fit with conjugate gradient on the signed weights; deterministic, whatever the number of threads.

    A negative weight means "not liked" with the confidence of its size (see implicit's `fit`);
    RecTools hands weights through as they are.
    """
    regularization = parameters.regularization
    if regularization is None:
        regularization = regularization_for(data.positives)
    model = ImplicitALSWrapperModel(
        AlternatingLeastSquares(  # type: ignore[no-untyped-call]
            factors=parameters.factors,
            alpha=parameters.alpha,
            regularization=regularization,
            iterations=parameters.iterations,
            use_cg=True,
            random_state=parameters.seed,
        ),
        verbose=int(progress),
    )
    model.fit(data.rectools(positive_only=False))
    users, items = model.get_vectors()
    arrays: dict[str, NDArray[Any]] = {
        "user_factors": np.where(has_positive(data)[:, None], users, 0).astype(np.float32),  # 0: without a positive
        "item_factors": np.asarray(items, np.float32),
    }
    return Fitted(arrays, parameters.model_dump(mode="json") | {"regularization": regularization})


def scores(arrays: Arrays, shared: Arrays, users: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the dot products of the factors."""
    return np.asarray(arrays["user_factors"][users] @ arrays["item_factors"].T, np.float32)


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Drop the users' factors. Film factors, learned from all users, stay, except for films no longer liked."""
    return {
        "user_factors": arrays["user_factors"][kept],
        "item_factors": np.where(liked[:, None], arrays["item_factors"], 0).astype(np.float32),
    }

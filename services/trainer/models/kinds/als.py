"""iALS (Hu, Koren & Volinsky, 2008) by RecTools and implicit."""

from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from rectools.models import ImplicitALSWrapperModel

from services.common.bundle import Arrays
from services.models.recency import RecencyWeights
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, Replays


class Parameters(RecencyWeights):
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


def resolved_regularization(data: TrainingData, parameters: Parameters) -> float:
    """Return the given regularization, or else the one for the data."""
    given = parameters.regularization
    return regularization_for(data.positives) if given is None else given


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Fit with conjugate gradient on the signed weights; deterministic, whatever the number of threads.

    A negative weight means "not liked" with the confidence of its size (see implicit's `fit`);
    RecTools hands weights through as they are.
    """
    regularization = resolved_regularization(data, parameters)
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
    _, items = model.get_vectors()
    return Fitted(
        {"item_factors": np.asarray(items, np.float32)},
        parameters.model_dump(mode="json") | {"regularization": regularization},
    )


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Film factors, learned from all users, stay, except for films no longer liked."""
    return {"item_factors": np.where(liked[:, None], arrays["item_factors"], 0).astype(np.float32)}

"""The protocol of kinds of model: a module of `services.trainer.models.kinds` with these four names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from services.common.bundle import Arrays
from services.common.kinds import kind_module
from services.trainer.data.dataset import TrainingData
from services.trainer.models import kinds


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    arrays: dict[str, NDArray[Any]]
    """The model's own arrays, as in its folder in the bundle."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Its training parameters for the manifest; JSON types."""


class Kind(Protocol):
    """Trains and scores one kind of model. u users, n items: the axes of the training data, and of the bundle.

    ``shared`` are the bundle's shared arrays over these axes; `popularity` is always there.
    """

    @property
    def Parameters(self) -> type[BaseModel]:  # noqa: N802 - a class
        """The parameters of its recipe, with their defaults."""

    def fit(self, data: TrainingData, parameters: Any, *, progress: bool) -> Fitted:
        """Train; deterministic. Called with BLAS on one thread."""

    def scores(self, arrays: Arrays, shared: Arrays, users: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (len(users), n) scores for users by position, a fresh array; greater is better."""

    def without(self, arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the arrays with only the ``kept`` users (u,), and without items (n,) that are no longer ``liked``."""


Scorer = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From users by position to (users, n) scores, a fresh array."""


def scorer(kind: str, arrays: Arrays, shared: Arrays) -> Scorer:
    """Return the scorer of a trained model."""
    return partial(kind_of(kind).scores, arrays, shared)


def kind_of(name: str) -> Kind:
    """Return the kind of that name.

    Raises:
        UnknownKindError: this release has no such kind.
    """
    return cast(Kind, kind_module(kinds, name))

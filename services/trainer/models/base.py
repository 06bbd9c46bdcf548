"""The protocol of kinds of model: a module of `services.trainer.models.kinds` with these three names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from threadpoolctl import threadpool_limits

from services.common.bundle import Arrays
from services.common.kinds import kind_module
from services.models.base import Recommender
from services.trainer.data.dataset import TrainingData
from services.trainer.data.moments import Moment
from services.trainer.models import kinds


class TrainingError(Exception):
    """A model cannot be trained on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Fitted:
    """A trained model."""

    arrays: dict[str, NDArray[Any]]
    """The model's own arrays, as in its folder in the bundle."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Its training parameters for the manifest; JSON types."""


@dataclass(frozen=True)
class Replay:
    """Models trained on an early part of the data, and what viewers liked after it."""

    data: TrainingData
    """The early part."""
    shared: Arrays
    models: Mapping[str, Recommender]
    moments: Sequence[Moment]


class Replays(Protocol):
    """The past, replayed, for kinds that learn how to combine other models."""

    def of(self, models: Sequence[str]) -> Sequence[Replay]:
        """Return the replays with these models of the recipe trained on each early part; earliest first."""


class Kind(Protocol):
    """Trains one kind of model. u users, n items: the axes of the training data, and of the bundle.

    The model scores as `services.models.kinds` of the same name does, in the trainer as in the service. If
    ``Parameters`` has a field ``models``, it names the models of the recipe that this one combines.
    """

    @property
    def Parameters(self) -> type[BaseModel]:  # noqa: N802 - a class
        """The parameters of its recipe, with their defaults."""

    def fit(self, data: TrainingData, parameters: Any, replays: Replays, *, progress: bool) -> Fitted:
        """Train; deterministic. Called with BLAS on one thread."""

    def without(self, arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the arrays with only the ``kept`` users (u,), and without items (n,) that are no longer ``liked``."""


class Engine(Protocol):
    """Trains one model."""

    def __call__(self, data: TrainingData, recipe: Any, replays: Replays, *, progress: bool) -> Fitted:
        """Train the model of a `services.trainer.models.recipe.ModelRecipe`. Blocks."""


def fit_model(data: TrainingData, recipe: Any, replays: Replays, *, progress: bool) -> Fitted:
    """Train a model on this machine: the `Engine` that is always there.

    BLAS runs on one thread meanwhile: beside implicit's own threads, more of them make training many times slower.

    Raises:
        UnknownKindError: it is of a kind that this release does not have.
    """
    kind = kind_of(recipe.kind)
    with threadpool_limits(limits=1, user_api="blas"):  # type: ignore[no-untyped-call]
        return kind.fit(data, kind.Parameters.model_validate(recipe.parameters), replays, progress=progress)


def kind_of(name: str) -> Kind:
    """Return the kind of that name.

    Raises:
        UnknownKindError: this release has no such kind.
    """
    return cast(Kind, kind_module(kinds, name))

"""Loads a bundle's models, each with the `load` of the module in `kinds` that is named for its kind."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.common.bundle import Arrays, BundleError
from services.common.kinds import UnknownKindError, kind_module
from services.contracts.bundle import ModelEntry
from services.models import kinds
from services.models.base import NOBODY, Floats, Recommender


class Kind(Protocol):
    """A module of `services.models.kinds`."""

    def load(
        self, arrays: Arrays, parameters: dict[str, Any], shared: Arrays, used: Mapping[str, Recommender]
    ) -> Recommender:
        """Return the model made of its own arrays, the shared ones, and the models that it uses, by name.

        Raises:
            BundleError, pydantic.ValidationError: the arrays or parameters are not what the kind expects.
        """


def need(arrays: Arrays, name: str, dtype: str, dimensions: int) -> NDArray[Any]:
    """Return one of a model's arrays.

    Raises:
        BundleError: it is missing, of another type or number of dimensions, or not finite.
    """
    array = arrays.get(name)
    if array is None:
        raise BundleError(f"{name} is missing; there are {sorted(arrays)}")
    if str(array.dtype) != dtype or array.ndim != dimensions:
        raise BundleError(f"{name} must be {dtype} with {dimensions} dimensions, got {array.dtype}{array.shape}")
    if array.dtype.kind == "f" and not bool(np.isfinite(array).all()):
        raise BundleError(f"{name} has values that are not finite")
    return array


def load_recommenders(
    entries: Mapping[str, ModelEntry], models: Mapping[str, Arrays], shared: Arrays
) -> dict[str, Recommender]:
    """Return the models of ``entries`` by name, made of their own arrays in ``models`` and the shared ones.

    Blocks; the arrays may be memory-mapped and stay so, what is derived from them is not.

    Raises:
        BundleError: a model is of a kind that this release does not have, or is not what its kind expects, or the
            models use each other in a circle.
    """
    loaded: dict[str, Recommender] = {}
    for name in in_order({name: entry.uses for name, entry in entries.items()}):
        entry = entries[name]
        # np.asarray drops the memmap subclass, whose every slice costs microseconds; the pages stay mapped.
        own = {array: np.asarray(values) for array, values in models[name].items()}
        try:
            kind = cast(Kind, kind_module(kinds, entry.kind))
            loaded[name] = kind.load(own, entry.parameters, shared, {other: loaded[other] for other in entry.uses})
        except (UnknownKindError, BundleError, ValidationError) as error:
            raise BundleError(f"model {name}: {error}") from error
    return loaded


FALLBACK = "popular_recent"
"""The model that answers when the one asked for cannot score a history, if the bundle has one of this name."""


def fallback_scores(models: Mapping[str, Recommender], popularity: Floats) -> Floats:
    """Return (n,) scores for viewers whom a model cannot score: recent popularity, or else ``popularity``."""
    recent = models.get(FALLBACK)
    scores = recent.score(NOBODY) if recent is not None else None
    return popularity if scores is None else scores


def in_order(uses: Mapping[str, list[str]]) -> list[str]:
    """Return the names of models so that each comes after those that it uses.

    >>> in_order({"blend": ["als", "popular"], "als": [], "popular": []})
    ['als', 'popular', 'blend']

    Raises:
        BundleError: they use each other in a circle, or a model that is not there.
    """
    for name, others in uses.items():
        if missing := sorted(set(others) - set(uses)):
            raise BundleError(f"model {name} uses {', '.join(missing)}, which the bundle does not have")
    try:
        return list(TopologicalSorter(uses).static_order())
    except CycleError as error:
        raise BundleError(f"models use each other in a circle: {', '.join(error.args[1])}") from error

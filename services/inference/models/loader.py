"""Loads a bundle's models, each with the `load` of the module in `kinds` that is named for its kind."""

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from services.common.bundle import Arrays, Bundle, BundleError
from services.common.kinds import UnknownKindError, kind_module
from services.inference.models import kinds
from services.inference.models.base import Recommender


class Kind(Protocol):
    """A module of `services.inference.models.kinds`."""

    def load(self, arrays: Arrays, parameters: dict[str, Any], shared: Arrays) -> Recommender:
        """Return the model made of its own arrays and the shared ones; raises BundleError or ValidationError."""


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


def load_recommenders(bundle: Bundle) -> dict[str, Recommender]:
    """Return the bundle's models by name. Blocks; the arrays are memory-mapped, what is derived from them is not.

    Raises:
        BundleError: a model is of a kind that this release does not have, or is not what its kind expects.
    """
    recommenders = {}
    for name, entry in bundle.manifest.models.items():
        # np.asarray drops the memmap subclass, whose every slice costs microseconds; the pages stay mapped.
        own = {array: np.asarray(values) for array, values in bundle.models[name].items()}
        try:
            kind = cast(Kind, kind_module(kinds, entry.kind))
            recommenders[name] = kind.load(own, entry.parameters, bundle.arrays)
        except (UnknownKindError, BundleError, ValidationError) as error:
            raise BundleError(f"{bundle.manifest.version}: model {name}: {error}") from error
    return recommenders

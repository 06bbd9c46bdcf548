"""Predicts how many stars a viewer would give a film, from the viewer's whole history.

The model is a biased matrix factorization (Koren, Bell & Volinsky, 2009, equation 4)::

    stars of viewer u for film i  ≈  base_i + b_u + p_u · q_i

The viewer's part ``x = (b, p)`` is not stored. It is folded in from the history: the mean of its posterior given the
films, with ``z_i = (1, q_i)`` and ``v_i = (0, variance of q_i)`` (Lim & Teh, 2007, section 3.2; `star_factors` in the
trainer has the same step for all viewers)::

    x = (Λ + Σ (z_i z_iᵀ + diag(v_i)))⁻¹ Σ z_i (stars_i − base_i)

over the rated films i. Without ratings ``x`` is 0: every film gets its ``base``, its mean shrunk to the films' mean.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LOWEST, HIGHEST = 0.5, 5.0
"""The scale, in stars."""

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class StarPredictor:
    """A trained model of n films and f factors, ready to serve. Pure and thread-safe."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `services.trainer.models.stars.fit` returns.

        - ``item_base`` (n,): the stars an average viewer would give
        - ``item_factors`` (n, f) and ``item_variance`` (n, f), the factors' uncertainty; not negative
        - ``viewer_precision`` (1 + f, 1 + f): ``Λ``, symmetric and positive definite; row 0 is the bias
        - ``calibration`` (2,): intercept, and slope > 0, of the line from raw predictions to stars

        Raises:
            ValueError: an array is missing, of the wrong shape, or has values it cannot have; the message names it.
        """
        base, factors = _array(arrays, "item_base", 1), _array(arrays, "item_factors", 2)
        n, f = len(base), factors.shape[1]
        _need_shape("item_factors", factors, (n, f))
        variance = _array(arrays, "item_variance", 2)
        _need_shape("item_variance", variance, (n, f))
        precision = _array(arrays, "viewer_precision", 2)
        _need_shape("viewer_precision", precision, (1 + f, 1 + f))
        calibration = _array(arrays, "calibration", 1)
        _need_shape("calibration", calibration, (2,))
        if (variance < 0).any():
            raise ValueError("item_variance has negative values")
        if not np.allclose(precision, precision.T) or np.linalg.eigvalsh(precision)[0] <= 0:
            raise ValueError("viewer_precision must be symmetric and positive definite")
        if calibration[1] <= 0:
            raise ValueError(f"calibration must have a slope above 0, got {calibration[1]}")
        self._base = base
        self._films = np.column_stack((np.ones(n), factors))
        self._variance = np.column_stack((np.zeros(n), variance))
        self._precision = precision
        self._intercept, self._slope = float(calibration[0]), float(calibration[1])

    @property
    def items(self) -> int:
        """The number of films, n."""
        return len(self._base)

    def predict(self, item_indices: ArrayLike, stars: ArrayLike, wanted_indices: ArrayLike | None = None) -> Floats:
        """Return the stars, 0.5 to 5, that one viewer would give the wanted films, or all n; in their order.

        ``item_indices`` (m,) and ``stars`` (m,) are the viewer's ratings, each film once. Neither their order nor the
        other wanted films change a film's prediction by a bit. A film that training had no ratings of is predicted
        from the viewer's bias alone.
        O(m f² + f³ + n f).

        Raises:
            ValueError: an index is not one of the n films, a film is rated twice, or stars are off the scale.
        """
        calibrated: Floats = self._intercept + self._slope * self.raw(item_indices, stars, wanted_indices)
        return np.clip(calibrated, LOWEST, HIGHEST)

    def raw(self, item_indices: ArrayLike, stars: ArrayLike, wanted_indices: ArrayLike | None = None) -> Floats:
        """Return what `predict` calibrates and clips."""
        indices, given = checked_ratings(item_indices, stars, self.items)
        viewer = self._fold_in(indices, given)
        base, films = self._base, self._films
        if wanted_indices is not None:
            wanted = checked_indices("wanted_indices", wanted_indices, self.items)
            base, films = base[wanted], films[wanted]
        # Not BLAS, whose sums depend on how many films are wanted.
        predicted: Floats = base + np.einsum("ij,j->i", films, viewer)
        return predicted

    def _fold_in(self, indices: Indices, stars: Floats) -> Floats:
        """Return the viewer's ``(b, p)`` (1 + f,)."""
        films = self._films[indices]
        system = self._precision + films.T @ films
        system.flat[:: len(system) + 1] += self._variance[indices].sum(axis=0)
        viewer: Floats = np.linalg.solve(system, films.T @ (stars - self._base[indices]))
        return viewer


def checked_ratings(item_indices: ArrayLike, stars: ArrayLike, n_items: int) -> tuple[Indices, Floats]:
    """Return one viewer's ratings, the indices ascending.

    >>> indices, stars = checked_ratings([2, 0], [4.5, 1], 3)
    >>> indices.tolist(), stars.tolist()
    ([0, 2], [1.0, 4.5])

    Raises:
        ValueError: an index is not one of the ``n_items`` films, a film is rated twice, or stars are off the scale.
    """
    indices, given = checked_indices("item_indices", item_indices, n_items), checked_stars(stars)
    if len(indices) != len(given):
        raise ValueError(f"item_indices and stars must be equally long, got {len(indices)} and {len(given)}")
    order = np.argsort(indices, kind="stable")
    indices, given = indices[order], given[order]
    twice = indices[1:][indices[1:] == indices[:-1]]
    if len(twice):
        raise ValueError(f"item_indices has film {twice[0]} more than once")
    return indices, given


def checked_indices(name: str, values: ArrayLike, count: int) -> Indices:
    """Return ``values`` as a vector of positions below ``count``.

    Raises:
        ValueError: it is no vector of integers, or one is outside; the message has the ``name``.
    """
    indices = np.asarray(values)
    if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be a vector of integers, got {indices.dtype}{indices.shape}")
    outside = indices[(indices < 0) | (indices >= count)]
    if len(outside):
        raise ValueError(f"{name} must be from 0 to {count - 1}, got {outside[0]}")
    return indices.astype(np.int64)


def checked_stars(values: ArrayLike) -> Floats:
    """Return ``values`` as a vector of stars.

    Raises:
        ValueError: it is no vector of numbers, or one is off the scale.
    """
    stars = np.asarray(values)
    if stars.ndim != 1 or (stars.size and stars.dtype.kind not in "iuf"):
        raise ValueError(f"stars must be a vector of numbers, got {stars.dtype}{stars.shape}")
    off = stars[~((stars >= LOWEST) & (stars <= HIGHEST))]  # NaN too
    if len(off):
        raise ValueError(f"stars must be from {LOWEST} to {HIGHEST}, got {off[0]}")
    return stars.astype(np.float64)


def _array(arrays: Mapping[str, NDArray[Any]], name: str, dimensions: int) -> Floats:
    if name not in arrays:
        raise ValueError(f"{name} is missing; there are {sorted(arrays)}")
    array = np.asarray(arrays[name])
    if array.ndim != dimensions or array.dtype.kind != "f":
        raise ValueError(f"{name} must be floats with {dimensions} dimensions, got {array.dtype}{array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has values that are not finite")
    return array.astype(np.float64)


def _need_shape(name: str, array: Floats, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")

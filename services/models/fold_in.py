"""Folding a viewer's history into a trained iALS model: the user half-step of the training, for one viewer.

With the item factors ``Y`` fixed, the least-squares factors of a viewer (Hu, Koren & Volinsky, 2008,
equation 4, in the convention of implicit's ``recalculate_user``) are::

    x = (YᵀY + λI + Σ (|c_i| − 1) y_i y_iᵀ)⁻¹ Σ_{c_i > 0} c_i y_i

over the films i that the viewer gave a signal; ``c_i = alpha · weight_i`` is negative for "not this".
`precompute` does once per model what does not depend on the viewer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FoldInBasis:
    """What the fold-in precomputes for a model of f factors and n films; float32, C-contiguous.

    With ``YᵀY + λI = L Lᵀ`` (Cholesky), in the coordinates ``v = Lᵀx`` and ``W = Y L⁻ᵀ`` the matrix that
    all viewers share is the identity, and ``W v = Y x``: the same scores.
    """

    whitened: Floats
    """``W`` (n, f)."""
    unwhiten: Floats
    """``L⁻ᵀ`` (f, f): ``x = L⁻ᵀ v``."""


def precompute(item_factors: Floats, regularization: float) -> FoldInBasis:
    """Return the basis of a model with ``Y`` = ``item_factors``; O(n f²), once per model, in float64 inside.

    Raises:
        numpy.linalg.LinAlgError: without regularization, when the factors don't span the space.
    """
    exact = item_factors.astype(np.float64)
    gram = exact.T @ exact + regularization * np.eye(exact.shape[1])
    unwhiten = np.linalg.inv(np.linalg.cholesky(gram)).T
    return FoldInBasis(np.ascontiguousarray(exact @ unwhiten, np.float32), np.ascontiguousarray(unwhiten, np.float32))


def fold_in(basis: FoldInBasis, indices: NDArray[np.intp], confidence: Floats) -> Floats:
    """Return the factors ``x`` (f,) of a viewer whose history is the films ``indices`` (m,) with ``confidence`` (m,).

    ``indices`` are distinct rows of the basis; ``confidence`` is signed and never 0 (an unknown film
    is left out). With ``D = diag(|c| − 1)`` two equal ways lead there, and the smaller system is
    solved: f equations, or m equations by the push-through identity::

        v = (I + Wᵤᵀ D Wᵤ)⁻¹ Wᵤᵀ c₊  =  Wᵤᵀ (I + D Wᵤ Wᵤᵀ)⁻¹ c₊

    >>> basis = precompute(np.eye(2, dtype=np.float32), 1.0)
    >>> x = fold_in(basis, np.array([0]), np.array([3.0], np.float32))  # (1 + 1 + 2) x = 3
    >>> np.round(x, 6).tolist()
    [0.75, 0.0]
    """
    chosen = basis.whitened[indices]
    positive: Floats = np.maximum(confidence, np.float32(0))
    extra: Floats = np.abs(confidence) - np.float32(1)
    if len(indices) <= chosen.shape[1]:
        system = chosen @ chosen.T
        system *= extra[:, None]
        system.flat[:: len(indices) + 1] += 1
        v = np.linalg.solve(system, positive) @ chosen
    else:
        system = _weighted_gram(chosen, extra)
        system.flat[:: len(system) + 1] += 1
        v = np.linalg.solve(system, positive @ chosen)
    result: Floats = basis.unwhiten @ v
    return result


def contributions(basis: FoldInBasis, indices: NDArray[np.intp], confidence: Floats, index: int) -> Floats:
    """Return (m,) what each film of a history adds to the score of the film at ``index``; their sum is the score.

    Hu, Koren & Volinsky (2008), section 5: with the matrix A that `fold_in` inverts, ``c_j · y_iᵀ A⁻¹ y_j`` for a liked
    film j, and 0 for the others. The arguments are those of `fold_in`.

    >>> basis = precompute(np.eye(2, dtype=np.float32), 1.0)
    >>> contributions(basis, np.array([0, 1]), np.array([3.0, -1.0], np.float32), 0).tolist()
    [0.75, 0.0]
    """
    chosen = basis.whitened[indices]
    system = _weighted_gram(chosen, np.abs(confidence) - np.float32(1))
    system.flat[:: len(system) + 1] += 1
    result: Floats = np.maximum(confidence, np.float32(0)) * (chosen @ np.linalg.solve(system, basis.whitened[index]))
    return result


def _weighted_gram(rows: Floats, weight: Floats) -> Floats:
    """Return ``rowsᵀ diag(weight) rows`` as ``AᵀA − BᵀB``: NumPy multiplies a matrix by itself in half the time."""
    root = np.sqrt(np.abs(weight))[:, None]
    positive = weight >= 0
    scaled = rows * root
    if positive.all():
        gram: Floats = scaled.T @ scaled
        return gram
    plus, minus = scaled[positive], scaled[~positive]
    difference: Floats = plus.T @ plus - minus.T @ minus
    return difference

"""Biases and factors of explicit ratings, by variational Bayes with learned priors.

After Lim & Teh, 2007, "Variational Bayesian approach to movie rating prediction", section 3, with biases. For viewer u
and film i, ``x_u = (b_u, p_u) ~ N(0, P)``, ``q_i ~ N(0, σ² / film_precision)`` and::

    stars = mean + b_i + b_u + p_u · q_i + noise,  noise ~ N(0, σ²)

Unlike alternating least squares, each half-step knows how uncertain the other half is: viewers and films with few
ratings pull less, and more factors do not overfit. `improve` is one sweep: viewers, their prior P, films, noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]

BIAS_VARIANCE, FACTOR_VARIANCE, NOISE = 0.15, 1.0, 0.7
"""Where P and σ² start. The start also counts as `PSEUDO` viewers or ratings, so that tiny data stay sane."""
PSEUDO = 10
BLOCK = 4096
"""Viewers or films whose matrices are in memory at once."""


@dataclass(frozen=True)
class Films:
    """What is learned of n films with f factors, and of viewers in general."""

    mean: float
    bias: Floats
    """(n,), about the mean"""
    factors: Floats
    """(n, f)"""
    variance: Floats
    """(n, f), of the factors' posterior; its covariances are left out."""
    viewer_covariance: Floats
    """(1 + f, 1 + f), P: the prior of a viewer's bias and factors."""
    noise: float
    """σ²"""

    @property
    def viewer_precision(self) -> Floats:
        """(1 + f, 1 + f): σ² P⁻¹, symmetric."""
        precision: Floats = self.noise * np.linalg.inv(self.viewer_covariance)
        return (precision + precision.T) / 2


@dataclass(frozen=True)
class _Viewers:
    means: Floats
    """(u, 1 + f)"""
    uncertainty: Floats
    """(n, 1 + f, 1 + f): the sum of the covariances of each film's viewers."""
    covariance: Floats
    """P"""


def start(ratings: sparse.csr_matrix, factors: int, seed: int) -> Films:
    """Return films that know no more than the mean of all stars; their factors are small and random."""
    n = ratings.shape[1]
    return Films(
        mean=float(ratings.data.mean()),
        bias=np.zeros(n),
        factors=np.random.default_rng(seed).normal(0, 0.1, (n, factors)),
        variance=np.zeros((n, factors)),
        viewer_covariance=_first_covariance(factors),
        noise=NOISE,
    )


def improve(films: Films, ratings: sparse.csr_matrix, bias_ratings: float, film_precision: float) -> Films:
    """Return the films after one sweep over ``ratings``, stars as (viewers, n), each viewer with a rating.

    A film with ``bias_ratings`` ratings has a bias half way between its own and that of the mean film.
    Deterministic; O(ratings f² + (viewers + n) f³).
    """
    viewers = _solve_viewers(films, ratings)
    n, f = films.factors.shape
    by_film = ratings.T.tocsr()
    own = np.column_stack((np.ones(len(viewers.means)), viewers.means[:, 1:]))
    prior = np.diag(np.concatenate(([bias_ratings], np.full(f, film_precision))))
    solution, variance, errors = np.zeros((n, 1 + f)), np.zeros((n, f)), 0.0
    for block in _blocks(n):
        part, uncertainty = by_film[block], viewers.uncertainty[block]
        targets = part.data - films.mean - viewers.means[part.indices, 0]
        systems, sides = _products(part, own, targets)
        systems[:, 1:, 1:] += uncertainty[:, 1:, 1:]
        sides[:, 1:] -= uncertainty[:, 1:, 0]
        inverse = np.linalg.inv(systems + prior)
        found = np.einsum("nij,nj->ni", inverse, sides)
        solution[block], variance[block] = found, films.noise * _diagonals(inverse)[:, 1:]
        # E[(stars − prediction)²], summed: at the means, and for the uncertainty of viewers, and of films.
        at_means = targets - np.einsum("ri,ri->r", own[part.indices], np.repeat(found, np.diff(part.indptr), axis=0))
        rows = np.column_stack((np.ones(len(found)), found[:, 1:]))
        errors += float(at_means @ at_means)
        errors += float(np.einsum("ni,nij,nj->", rows, uncertainty, rows))
        errors += float(np.sum(variance[block] * _diagonals(systems)[:, 1:]))
    rated = np.diff(by_film.indptr) > 0
    shift = float(solution[rated, 0].mean())
    return Films(
        mean=films.mean + shift,
        bias=np.where(rated, solution[:, 0] - shift, 0.0),
        factors=solution[:, 1:],
        variance=variance,
        viewer_covariance=viewers.covariance,
        noise=(errors + PSEUDO * NOISE) / (ratings.nnz + PSEUDO),
    )


def _solve_viewers(films: Films, ratings: sparse.csr_matrix) -> _Viewers:
    """Return the viewers' posterior: the fold-in of `services.models.stars`, for all at once."""
    (u, n), d = ratings.shape, films.factors.shape[1] + 1
    rows, precision = np.column_stack((np.ones(n), films.factors)), films.viewer_precision
    base = films.mean + films.bias
    means, uncertainty, total = np.zeros((u, d)), np.zeros((n, d * d)), np.zeros((d, d))
    for block in _blocks(u):
        part = ratings[block]
        rated = part.sign()  # stars are above 0
        systems, sides = _products(part, rows, part.data - base[part.indices])
        systems += precision
        systems[:, np.arange(1, d), np.arange(1, d)] += rated @ films.variance
        inverse = np.linalg.inv(systems)
        means[block] = np.einsum("uij,uj->ui", inverse, sides)
        covariances = films.noise * inverse
        total += covariances.sum(axis=0)
        uncertainty += rated.T @ covariances.reshape(-1, d * d)
    # What viewers share moves to the films, which are solved for next: the mean viewer is 0.
    means -= means.sum(axis=0) / (u + PSEUDO)
    spread = means.T @ means + total + PSEUDO * _first_covariance(d - 1)
    return _Viewers(means, uncertainty.reshape(n, d, d), spread / (u + PSEUDO))


def _products(part: sparse.csr_matrix, rows: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return per row of ``part``, with R the ``rows`` of its entries, ``RᵀR`` (·, d, d) and ``Rᵀ values`` (·, d)."""
    count, d = part.shape[0], rows.shape[1]
    grams, sides = np.empty((count, d, d)), np.empty((count, d))
    for k in range(count):
        entries = slice(part.indptr[k], part.indptr[k + 1])
        chosen = rows[part.indices[entries]]
        np.matmul(chosen.T, chosen, out=grams[k])
        np.matmul(values[entries], chosen, out=sides[k])
    return grams, sides


def _blocks(count: int) -> Iterator[slice]:
    return (slice(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK))


def _diagonals(matrices: Floats) -> Floats:
    diagonals: Floats = np.diagonal(matrices, axis1=1, axis2=2)
    return diagonals


def _first_covariance(factors: int) -> Floats:
    return np.diag([BIAS_VARIANCE] + [FACTOR_VARIANCE] * factors)

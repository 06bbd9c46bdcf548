"""Trains the prediction of stars; `services.models.stars` serves it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import sparse

from services.models.stars import StarPredictor, checked_indices, checked_stars
from services.trainer.models.star_factors import PSEUDO, Films, improve, start

Floats = NDArray[np.float64]

MIN_HELD_OUT = 1000
"""Fewer held-out ratings say less about the calibration than no calibration does."""
MIN_SLOPE = 0.1


class Parameters(BaseModel):
    """Equal parameters on equal data give equal arrays.

    On a tenth of MovieLens 1M's training parts (`tests/bench/ratings.py --validate`) the defaults are within 0.0012
    RMSE of the best neighbours: 24 factors, which take 1.7 times as long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    factors: int = Field(default=16, ge=1)
    sweeps: int = Field(default=12, ge=1)
    bias_ratings: float = Field(
        default=2.0, gt=0, description="Shrinks a film's bias like so many ratings at the mean."
    )
    film_precision: float = Field(
        default=200.0, gt=0, description="σ² over the prior variance of its factors; mainly sets the speed of learning."
    )
    calibration_share: float = Field(default=0.05, ge=0, le=0.5, description="Held out for the calibration; 0: none.")
    calibrated_sweeps: int = Field(default=3, ge=1, description="Sweeps over all ratings after the calibration.")
    seed: int = 42


def fit(  # noqa: PLR0917 - the ratings, their axes, the parameters
    user_index: ArrayLike,
    item_index: ArrayLike,
    stars: ArrayLike,
    n_users: int,
    n_items: int,
    parameters: Parameters,
) -> dict[str, NDArray[Any]]:
    """Return the arrays that `StarPredictor` takes, for ``n_items`` films; float32, except for the small ones.

    The three vectors are the ratings, one per viewer and film, in any order. Deterministic with BLAS on one thread.

    Raises:
        ValueError: there are no ratings or films, an index is outside, stars are off the scale, or a viewer has rated
            a film twice.
    """
    ratings = _matrix(user_index, item_index, stars, n_users, n_items)
    films = start(ratings, parameters.factors, parameters.seed)
    held_out = np.random.default_rng(parameters.seed).random(ratings.nnz) < parameters.calibration_share
    if np.count_nonzero(held_out) < MIN_HELD_OUT:
        return _arrays(_swept(films, ratings, parameters, parameters.sweeps), np.array([0.0, 1.0]))
    films = _swept(films, _entries(ratings, ~held_out), parameters, parameters.sweeps)
    calibration = _calibration(films, ratings, held_out)
    return _arrays(_swept(films, ratings, parameters, parameters.calibrated_sweeps), calibration)


def _matrix(
    user_index: ArrayLike, item_index: ArrayLike, stars: ArrayLike, n_users: int, n_items: int
) -> sparse.csr_matrix:
    """Return the stars as (viewers with ratings, n_items), films ascending."""
    if n_users < 1 or n_items < 1:
        raise ValueError(f"n_users and n_items must be at least 1, got {n_users} and {n_items}")
    users = checked_indices("user_index", user_index, n_users)
    items = checked_indices("item_index", item_index, n_items)
    given = checked_stars(stars)
    if not len(users) == len(items) == len(given):
        lengths = f"{len(users)}, {len(items)} and {len(given)}"
        raise ValueError(f"user_index, item_index and stars must be equally long, got {lengths}")
    if not len(given):
        raise ValueError("stars is empty: there is nothing to learn from")
    order = np.lexsort((items, users))
    users, items, given = users[order], items[order], given[order]
    twice = np.flatnonzero((users[1:] == users[:-1]) & (items[1:] == items[:-1]))
    if len(twice):
        raise ValueError(f"user {users[twice[0]]} has rated film {items[twice[0]]} more than once")
    counts = np.unique(users, return_counts=True)[1]
    indptr = np.concatenate(([0], np.cumsum(counts)))
    return sparse.csr_matrix((given, items, indptr), shape=(len(counts), n_items))  # type: ignore[no-untyped-call]


def _entries(ratings: sparse.csr_matrix, kept: NDArray[np.bool_]) -> sparse.csr_matrix:
    """Return the chosen entries of the viewers who have one."""
    counts = np.add.reduceat(kept, ratings.indptr[:-1], dtype=np.int64)
    indptr = np.concatenate(([0], np.cumsum(counts[counts > 0])))
    shape = (len(indptr) - 1, ratings.shape[1])
    return sparse.csr_matrix((ratings.data[kept], ratings.indices[kept], indptr), shape=shape)  # type: ignore[no-untyped-call]


def _swept(films: Films, ratings: sparse.csr_matrix, parameters: Parameters, sweeps: int) -> Films:
    for _ in range(sweeps):
        films = improve(films, ratings, parameters.bias_ratings, parameters.film_precision)
    return films


def _calibration(films: Films, ratings: sparse.csr_matrix, held_out: NDArray[np.bool_]) -> Floats:
    """Return the `line` of the held-out stars, each predicted from the rest of its viewer's."""
    predictor = StarPredictor(_arrays(films, np.array([0.0, 1.0])))
    raw = np.empty(ratings.nnz)
    for first, end in zip(ratings.indptr[:-1], ratings.indptr[1:], strict=True):
        out = held_out[first:end]
        items, stars = ratings.indices[first:end], ratings.data[first:end]
        if out.any():
            raw[first:end][out] = predictor.raw(items[~out], stars[~out], items[out])
    return line(raw[held_out], ratings.data[held_out])


def line(raw: Floats, stars: Floats) -> Floats:
    """Return intercept and slope of the least-squares line from raw predictions to stars, drawn to the identity.

    The slope is at least `MIN_SLOPE`, so that a higher prediction stays higher. An isotonic regression in its place
    does not predict better on MovieLens 1M.

    >>> np.round(line(np.tile([2.0, 4.0], 100_000), np.tile([2.5, 3.5], 100_000)), 3).tolist()
    [1.5, 0.5]
    >>> line(np.full(1000, 3.0), np.full(1000, 3.5)).tolist()  # nothing to learn a slope from
    [0.5, 1.0]
    """
    spread = raw - raw.mean()
    slope = max((float(spread @ stars) + PSEUDO) / (float(spread @ spread) + PSEUDO), MIN_SLOPE)
    return np.array([stars.mean() - slope * raw.mean(), slope])


def _arrays(films: Films, calibration: Floats) -> dict[str, NDArray[Any]]:
    return {
        "item_base": (films.mean + films.bias).astype(np.float32),
        "item_factors": films.factors.astype(np.float32),
        "item_variance": films.variance.astype(np.float32),
        "viewer_precision": films.viewer_precision,
        "calibration": calibration,
    }

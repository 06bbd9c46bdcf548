"""One sweep equals its formulas, written out viewer by viewer, film by film and rating by rating."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from services.trainer.models.star_factors import BIAS_VARIANCE, FACTOR_VARIANCE, NOISE, PSEUDO, Films, improve, start

RATINGS = [(0, 0, 5.0), (0, 1, 3.0), (0, 2, 1.0), (1, 0, 4.5), (1, 3, 2.0), (2, 1, 0.5), (2, 2, 4.0), (3, 2, 3.5)]
"""(viewer, film, stars); film 4 has none."""
VIEWERS, FILMS, FACTORS = 4, 5, 2
BIAS_RATINGS, PRECISION = 2.0, 3.0


def matrix() -> sparse.csr_matrix:
    user, item, stars = zip(*RATINGS, strict=True)
    return sparse.csr_matrix((stars, (user, item)), shape=(VIEWERS, FILMS))  # type: ignore[no-untyped-call]


def some_films() -> Films:
    random = np.random.default_rng(1)
    return replace(
        start(matrix(), FACTORS, seed=1),
        bias=random.normal(size=FILMS),
        factors=random.normal(size=(FILMS, FACTORS)),
        variance=random.uniform(0.1, 0.5, (FILMS, FACTORS)),
        viewer_covariance=np.array([[0.3, 0.1, 0], [0.1, 1.0, 0.2], [0, 0.2, 0.8]]),
        noise=0.6,
    )


def written_out(films: Films) -> Films:
    means, covariances = [], []
    for viewer in range(VIEWERS):
        system, side = films.noise * np.linalg.inv(films.viewer_covariance), np.zeros(1 + FACTORS)
        for _, film, stars in [row for row in RATINGS if row[0] == viewer]:
            z = np.array([1, *films.factors[film]])
            system = system + np.outer(z, z) + np.diag([0, *films.variance[film]])
            side += z * (stars - films.mean - films.bias[film])
        means.append(np.linalg.solve(system, side))
        covariances.append(films.noise * np.linalg.inv(system))
    x = np.array(means) - np.sum(means, axis=0) / (VIEWERS + PSEUDO)
    seen = [np.outer(x[viewer], x[viewer]) + covariances[viewer] for viewer in range(VIEWERS)]
    first = np.diag([BIAS_VARIANCE, FACTOR_VARIANCE, FACTOR_VARIANCE])

    bias, factors, variance = np.zeros(FILMS), np.zeros((FILMS, FACTORS)), np.zeros((FILMS, FACTORS))
    for film in range(FILMS):
        system, side = np.diag([BIAS_RATINGS, PRECISION, PRECISION]), np.zeros(1 + FACTORS)
        for viewer, _, stars in [row for row in RATINGS if row[1] == film]:
            # E[w wᵀ] and E[w (stars − mean − b)] of w = (1, p).
            p, moment = x[viewer, 1:], seen[viewer]
            system = system + np.block([[np.ones((1, 1)), p[None, :]], [p[:, None], moment[1:, 1:]]])
            side += np.array([1, *p]) * (stars - films.mean) - np.array([x[viewer, 0], *moment[1:, 0]])
        bias[film], *factors[film] = np.linalg.solve(system, side)
        variance[film] = films.noise * np.diag(np.linalg.inv(system))[1:]

    errors = 0.0
    for viewer, film, stars in RATINGS:
        z, v = np.array([1, *factors[film]]), np.diag(variance[film])
        errors += (stars - films.mean - bias[film] - z @ x[viewer]) ** 2
        errors += z @ covariances[viewer] @ z + np.trace(v @ seen[viewer][1:, 1:])
    shift = bias[:4].mean()
    return Films(
        mean=films.mean + shift,
        bias=np.array([*(bias[:4] - shift), 0.0]),
        factors=factors,
        variance=variance,
        viewer_covariance=(np.sum(seen, axis=0) + PSEUDO * first) / (VIEWERS + PSEUDO),
        noise=(errors + PSEUDO * NOISE) / (len(RATINGS) + PSEUDO),
    )


def test_a_sweep_equals_its_formulas() -> None:
    swept, expected = improve(some_films(), matrix(), BIAS_RATINGS, PRECISION), written_out(some_films())
    assert swept.mean == pytest.approx(expected.mean)
    assert swept.noise == pytest.approx(expected.noise)
    for name in ("bias", "factors", "variance", "viewer_covariance"):
        np.testing.assert_allclose(getattr(swept, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


def test_a_film_without_ratings_keeps_its_prior() -> None:
    swept = improve(some_films(), matrix(), BIAS_RATINGS, PRECISION)
    assert swept.bias[4] == 0
    assert swept.factors[4].tolist() == [0, 0]
    assert swept.variance[4] == pytest.approx(some_films().noise / PRECISION)


def test_the_start_knows_the_mean_and_is_seeded() -> None:
    films = start(matrix(), FACTORS, seed=1)
    assert films.mean == pytest.approx(np.mean([stars for _, _, stars in RATINGS]))
    assert not films.bias.any()
    assert np.array_equal(films.factors, start(matrix(), FACTORS, seed=1).factors)
    assert not np.array_equal(films.factors, start(matrix(), FACTORS, seed=2).factors)

"""The fold-in equals implicit's `recalculate_user`, whichever of the two systems it solves."""

from typing import Any

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

from services.models.fold_in import fold_in, precompute

ITEMS, FACTORS = 300, 16
ALPHA, REGULARIZATION = 3.0, 7.0


@pytest.fixture(scope="module")
def trained() -> Any:
    random = np.random.default_rng(1)
    dense = (random.random((60, ITEMS)) < 0.1) * random.choice([2.0, 1.0, 0.5, -0.5, -1.0], (60, ITEMS))
    model = AlternatingLeastSquares(  # type: ignore[no-untyped-call]
        factors=FACTORS, alpha=ALPHA, regularization=REGULARIZATION, iterations=3, random_state=1, num_threads=1
    )
    model.fit(csr_matrix(dense.astype(np.float32)), show_progress=False)  # type: ignore[no-untyped-call]
    return model


@pytest.mark.parametrize("length", [1, 2, FACTORS - 1, FACTORS, FACTORS + 1, 5 * FACTORS, ITEMS])
@pytest.mark.parametrize("choices", [[2.0], [2.0, 1.0, 0.5], [2.0, -1.0, -0.5, 1.0], [1 / ALPHA, -0.1, 2.0]])
def test_fold_in_gives_the_factors_of_recalculate_user(trained: Any, length: int, choices: list[float]) -> None:
    random = np.random.default_rng(length)
    indices = np.sort(random.choice(ITEMS, length, replace=False)).astype(np.intp)
    weight = random.choice(choices, length).astype(np.float32)
    weight[0] = abs(weight[0])
    row = csr_matrix((weight, indices, [0, length]), shape=(1, ITEMS))  # type: ignore[no-untyped-call]
    expected = trained.recalculate_user(0, row)

    folded = fold_in(precompute(trained.item_factors, REGULARIZATION), indices, np.float32(ALPHA) * weight)

    assert folded.dtype == np.float32
    np.testing.assert_allclose(folded, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_negative_signals_alone_fold_in_to_zero_factors(trained: Any) -> None:
    basis = precompute(trained.item_factors, REGULARIZATION)
    assert not fold_in(basis, np.array([3, 5]), np.array([-3, -1.5], np.float32)).any()


def test_a_like_pulls_the_films_score_to_one_and_a_dislike_pulls_it_to_zero(trained: Any) -> None:
    basis = precompute(trained.item_factors, REGULARIZATION)
    film = trained.item_factors[2]
    before = film @ fold_in(basis, np.array([1]), np.array([6.0], np.float32))
    liked = film @ fold_in(basis, np.array([1, 2]), np.array([6.0, 6.0], np.float32))
    disliked = film @ fold_in(basis, np.array([1, 2]), np.array([6.0, -6.0], np.float32))
    assert abs(1 - liked) < abs(1 - before)
    assert abs(disliked) < abs(before)

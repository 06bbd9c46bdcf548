"""MLlib's confidence, preference and regularization, beside those of the local engine."""

import numpy as np
import pytest

from services.trainer.engines.spark_objective import factor_scale, mllib_ratings, mllib_regularization


def test_mllib_gives_a_rating_the_confidence_and_the_preference_of_the_weight() -> None:
    weight, alpha = np.array([2, 1, 0.5, -1, -2], np.float32), 3.0
    ratings = mllib_ratings(weight, alpha)
    assert (1 + alpha * np.abs(ratings)).tolist() == pytest.approx((alpha * np.abs(weight)).tolist())
    assert ((ratings > 0) == (weight > 0)).all()
    assert ratings.dtype == np.float32


@pytest.mark.parametrize(("weight", "positive"), [(0.1, True), (-0.1, False)])
def test_less_confidence_than_mllib_can_have_becomes_its_least_and_keeps_the_preference(
    weight: float, positive: bool
) -> None:
    (rating,) = mllib_ratings(np.array([weight], np.float32), alpha=3.0)
    assert (rating > 0) == positive
    assert 1 + 3 * abs(rating) == pytest.approx(1, abs=1e-5)


def test_the_mean_viewer_and_the_mean_film_together_are_regularized_as_by_lambda() -> None:
    positives, users, items, strength = 6_000, 300, 40, 50.0
    per_rating = mllib_regularization(strength, positives=positives, users=users, items=items)
    of_viewer, of_film = per_rating * positives / users, per_rating * positives / items
    assert of_viewer * of_film == pytest.approx(strength**2)
    scale = factor_scale(users=users, items=items)
    assert of_viewer * scale**2 == pytest.approx(strength), "x·(sy) with lambda is (x·s)·y with lambda / s²"

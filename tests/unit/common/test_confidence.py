import numpy as np
import pytest

from services.common.confidence import weights
from services.contracts.bundle import ConfidenceParameters

NAN = float("nan")


@pytest.mark.parametrize(
    ("opinion", "rating", "watched", "weight"),
    [
        (1, NAN, 0, 2.0),  # a like is the strongest positive
        (1, 1.0, 0, 2.0),  # and takes precedence over a rating
        (-1, 5.0, 1, -2.0),
        (0, 5.0, 0, 1.0),  # withdrawn: the rating counts again
        (0, 4.0, 0, 1.0),
        (0, 3.5, 1, 0.0),  # a lukewarm rating says more than having watched
        (0, 2.5, 0, 0.0),
        (0, 2.0, 0, -1.0),
        (0, 0.5, 0, -1.0),  # one star is negative evidence, not a weak positive
        (0, NAN, 1, 0.5),
        (0, NAN, 0, 0.0),
    ],
)
def test_the_strongest_statement_counts(opinion: int, rating: float, watched: int, weight: float) -> None:
    signals = np.array([opinion], np.int8), np.array([rating], np.float32), np.array([watched], np.uint8)
    assert weights(*signals, ConfidenceParameters()).tolist() == [weight]


def test_parameters_change_the_weights() -> None:
    one = np.array([0], np.int8), np.array([3.0], np.float32), np.array([0], np.uint8)
    assert weights(*one, ConfidenceParameters(rating_positive_from=3, rating_positive=7)).tolist() == [7.0]

"""From signals to the confidence that iALS trains on: one function for trainer and fold-in.

iALS (Hu, Koren & Volinsky, 2008) minimises ``sum c_ui (p_ui - x_u·y_i)^2``. In implicit's convention a
positive weight w means preference 1 with confidence alpha*w, a negative weight means preference 0
with confidence alpha*|w|, and 0 means nothing is known.
"""

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import ConfidenceParameters


def weights(
    opinion: NDArray[np.int8],
    rating: NDArray[np.float32],
    watched: NDArray[np.uint8],
    parameters: ConfidenceParameters,
) -> NDArray[np.float32]:
    """Return one signed weight per row; the arguments are equally long, one row per (user, item).

    The strongest statement counts: an opinion before a rating before having watched. A like is the
    strongest positive; a low rating and a dislike are negative evidence, not weak positives.

    Args:
        opinion: +1, -1 or 0 (withdrawn or never given).
        rating: stars, NaN where there is none.
        watched: 0 or 1.
        parameters: of the bundle in use.

    >>> nan = np.nan
    >>> weights(np.array([1, 0, 0, -1, 0], np.int8), np.array([1, 1, 5, 5, nan], np.float32),
    ...         np.array([0, 0, 0, 0, 1], np.uint8), ConfidenceParameters()).tolist()
    [2.0, -1.0, 1.0, -2.0, 0.5]
    """
    p = parameters
    by_rating = np.where(
        rating >= p.rating_positive_from,
        p.rating_positive,
        np.where(rating < p.rating_negative_below, p.rating_negative, p.rating_neutral),
    )
    without_opinion = np.where(np.isnan(rating), watched * p.watched, by_rating)
    result = np.where(opinion > 0, p.like, np.where(opinion < 0, p.dislike, without_opinion))
    return result.astype(np.float32)


def is_positive(
    opinion: NDArray[np.int8],
    rating: NDArray[np.float32],
    watched: NDArray[np.uint8],
    parameters: ConfidenceParameters,
) -> NDArray[np.bool_]:
    """Return for each row whether it counts as liked; the arguments are those of `weights`.

    This is the one definition of "positive": for training, popularity, evaluation, a viewer's strategy and the
    metrics. `services.common.positive_sql` is the same in SQL.

        >>> is_positive(np.array([1, -1, 0, 0], np.int8), np.array([1, 5, 4, 3.5], np.float32), np.zeros(4, np.uint8),
        ...             ConfidenceParameters()).tolist()
        [True, False, True, False]
    """
    return weights(opinion, rating, watched, parameters) > 0

"""iALS in MLlib's terms: the same objective, except for how regularization is spread over the rows.

With ``c`` the confidence, ``p`` the preference and ``m`` a row's number of positives (a row is a viewer or a film):

==========================  ==========================================  ========================================
                            implicit (`services.common.confidence`)     MLlib, ``implicitPrefs`` with rating ``r``
==========================  ==========================================  ========================================
confidence                  ``alpha·|w|``                               ``1 + alpha·|r|``
preference                  1 if ``w > 0``, else 0                      1 if ``r > 0``, else 0
regularization of a row     ``λ``                                       ``regParam·m``
==========================  ==========================================  ========================================

`mllib_ratings` makes the first two lines equal. The third cannot be: MLlib has no other regularization. Multiplying
all viewers' factors by s and all films' by 1/s changes no score, so only the product of the two sides' regularization
matters: `mllib_regularization` makes it λ² for a viewer and a film with the mean numbers of positives. `factor_scale`
then chooses s so that the viewer's side alone is λ: the fold-in, which knows λ only, is right for the model.

Measured with `tests/bench/bench_spark.py` on MovieLens 1M (NDCG@10, the recipe "plain"; implicit: 0.252): 0.259, with
0.3 times the λ 0.236, with twice the λ 0.253 at less than half the coverage.
"""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-6
"""A rating that adds next to no confidence and keeps its sign, hence its preference."""


def mllib_ratings(weight: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    """Return the ratings to which MLlib with the same ``alpha`` gives the confidence ``alpha·|w|``; signs stay.

    MLlib's least confidence is 1, so smaller ones (``alpha·|w| < 1``) become 1.

    >>> mllib_ratings(np.array([2, -1, 0.25], np.float32), alpha=2.0).round(3).tolist()  # confidence 4, 2, 1
    [1.5, -0.5, 0.0]
    """
    sizes = np.maximum(np.abs(weight) - 1 / alpha, _LEAST)
    return np.asarray(np.sign(weight) * sizes, np.float32)


def mllib_regularization(regularization: float, *, positives: int, users: int, items: int) -> float:
    """Return MLlib's ``regParam`` for λ: λ over the geometric mean of positives per viewer and per film.

    Args:
        regularization: λ, of a viewer and of a film alike.
        positives: their number, at least 1.
        users: how many viewers have one.
        items: how many films have one.

    >>> mllib_regularization(48.0, positives=1200, users=12, items=48)  # 100 per viewer, 25 per film
    0.96
    """
    return regularization * sqrt(users * items) / positives


def factor_scale(*, users: int, items: int) -> float:
    """Return by what to multiply MLlib's film factors, so that λ is the right regularization of a viewer's fold-in.

    >>> factor_scale(users=16, items=1)
    2.0
    """
    return float((users / items) ** 0.25)

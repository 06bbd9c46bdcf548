"""Statistical comparison of two models' lists: a paired bootstrap over users. Pure."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

RESAMPLES = 2_000
LEVEL = 0.95
SEED = 20_261_126


class Comparison(BaseModel):
    """Two models on the same users: their mean figures, and an interval of the difference of the means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    candidate: float
    rival: float
    low: float
    """Lower end of the interval of ``candidate - rival``."""
    high: float
    users: int

    @property
    def difference(self) -> float:
        """The candidate's mean minus the rival's."""
        return self.candidate - self.rival


def compare(
    candidate: NDArray[np.float64],
    rival: NDArray[np.float64],
    users: NDArray[np.int64] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison:
    """Compare two models by their figures per list, (n,) each, in the same order of lists.

    ``users`` (n,) says whose list each is; None: everyone has one. Each resample draws users with replacement, with all
    their lists, as a viewer's lists are alike, and takes the mean of the differences; the interval is from the 2.5th to
    the 97.5th percentile of those means: the percentile interval of Efron & Tibshirani, An Introduction to the
    Bootstrap (1993), chapter 13; paired by user as in Sakai, "Evaluating Evaluation
    Metrics based on the Bootstrap" (SIGIR 2006). Pairing matters: users differ far more than models do. The same input
    gives the same interval. O(resamples · n).

    Every user having gained the same, the interval is that gain:

    >>> same = compare(np.array([0.5, 0.25, 1.0, 0.25]), np.array([0.25, 0.0, 0.75, 0.0]))
    >>> (same.difference, same.low, same.high, same.users)
    (0.25, 0.25, 0.25, 4)

    Raises:
        ValueError: the lengths differ, or there are no lists.
    """
    if len(candidate) != len(rival) or len(candidate) == 0:
        raise ValueError(f"one figure per user is needed from both models, got {len(candidate)} and {len(rival)}")
    _, whose = np.unique(np.arange(len(candidate)) if users is None else users, return_inverse=True)
    lists, sums = np.bincount(whose), np.bincount(whose, weights=candidate - rival)
    random = np.random.default_rng(seed)
    drawn = (random.integers(len(lists), size=len(lists)) for _ in range(resamples))
    means = np.array([sums[sample].sum() / lists[sample].sum() for sample in drawn])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Comparison(
        candidate=float(candidate.mean()), rival=float(rival.mean()), low=float(low), high=float(high), users=len(lists)
    )

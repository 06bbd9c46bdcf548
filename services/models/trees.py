"""Gradient-boosted trees of at most eight leaves, evaluated in NumPy.

A tree of eight leaves asks at most seven questions. All are asked at once, of all rows; the answers of one tree make a
number, and a table says which leaf that number leads to. It takes less time than LightGBM's own library, which needs
SciPy and a system library that slim images lack: `tests/bench/bench_models.py` measures both.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from services.models.base import Floats

QUESTIONS = 7
"""A tree of eight leaves has as many."""
_BITS = (1 << np.arange(QUESTIONS)).astype(np.uint8)


@dataclass(frozen=True)
class Trees:
    """t trees. Question q of a tree is answered yes where the feature is at most the threshold."""

    features: NDArray[np.int16]
    """(t, QUESTIONS) columns of the rows."""
    thresholds: Floats
    """(t, QUESTIONS) any value for a question that is not asked."""
    unknown: NDArray[np.bool_]
    """(t, QUESTIONS) the answer where the feature is NaN."""
    values: Floats
    """(t, 2**QUESTIONS) the value of the leaf to which the answers lead; question q is bit q."""

    def predict(self, rows: Floats) -> Floats:
        """Return (r,) the sums of the trees' values for (r, features) rows."""
        columns = np.ascontiguousarray(rows.T)
        asked = self._asked
        answers = np.take(columns, asked, axis=0) <= self.thresholds.ravel()[:, None]
        missing = np.isnan(columns)
        if missing.any():
            answers |= missing[asked] & self.unknown.ravel()[:, None]
        t = len(self.features)
        bits = answers.view(np.uint8).reshape(t, QUESTIONS, -1)
        codes = np.einsum("tqr,q->tr", bits, _BITS)
        sums: Floats = np.take(self.values, codes + self._starts).sum(axis=0)
        return sums

    @cached_property
    def _asked(self) -> NDArray[np.intp]:
        return self.features.ravel().astype(np.intp)

    @cached_property
    def _starts(self) -> NDArray[np.intp]:
        return np.arange(len(self.values), dtype=np.intp)[:, None] << QUESTIONS

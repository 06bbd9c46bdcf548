"""`top_k` agrees with a plain sort on any input."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.models.ranking import top_k


@given(
    scores=st.lists(st.integers(-9, 9), min_size=1, max_size=90),
    k=st.integers(1, 50),
    data=st.data(),
)
def test_top_k_is_a_stable_sort_of_the_allowed_indices(scores: list[int], k: int, data: st.DataObject) -> None:
    n = len(scores)
    left_out = data.draw(st.sets(st.integers(0, n - 1)))
    allowed = data.draw(st.lists(st.booleans(), min_size=n, max_size=n) | st.none())
    candidates = [i for i in range(n) if i not in left_out and (allowed is None or allowed[i])]
    expected = sorted(candidates, key=lambda i: (-scores[i], i))[:k]
    result = top_k(
        np.array(scores, np.float32),
        k,
        left_out=np.array(sorted(left_out), np.intp),
        allowed=None if allowed is None else np.array(allowed),
    )
    assert result.tolist() == expected


def test_the_scores_are_not_changed() -> None:
    scores = np.array([1, 2, 3], np.float32)
    top_k(scores, 2, left_out=np.array([2]))
    assert scores.tolist() == [1, 2, 3]

"""How the viewers are shared out to Spark's tasks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.engines.spark_clickhouse import slices


@given(rows=st.lists(st.integers(0, 20), max_size=40), count=st.integers(1, 8))
def test_the_slices_are_disjoint_and_together_all_viewers(rows: list[int], count: int) -> None:
    parts = slices(np.array(rows, np.int64), count)
    assert [position for first, end in parts for position in range(first, end)] == list(range(len(rows)))
    assert len(parts) <= count
    assert all(first < end for first, end in parts)


@given(rows=st.lists(st.integers(0, 20), min_size=1, max_size=40), count=st.integers(1, 8))
def test_no_slice_has_more_rows_than_its_share_and_one_viewer(rows: list[int], count: int) -> None:
    parts = slices(np.array(rows, np.int64), count)
    assert max(sum(rows[first:end]) for first, end in parts) <= sum(rows) / count + max(rows)

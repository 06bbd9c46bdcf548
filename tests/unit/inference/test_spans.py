"""Offsets still to be read, against a plain set of them."""

from hypothesis import given
from hypothesis import strategies as st

from services.inference.history.spans import Spans

_RANGES = st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 20), st.integers(0, 20))


@given(st.lists(_RANGES, max_size=12), st.integers(0, 20), st.integers(0, 20))
def test_spans_are_a_set_of_offsets(changes: list[tuple[bool, int, int, int]], first: int, end: int) -> None:
    spans, offsets = Spans(), set[tuple[int, int]]()
    for added, partition, a, b in changes:
        changed = {(partition, offset) for offset in range(a, b)}
        if added:
            spans.add(partition, a, b)
            offsets |= changed
        else:
            spans.remove(partition, a, b)
            offsets -= changed
    assert [(p, o) for p, a, b in spans for o in range(a, b)] == sorted(offsets)
    assert len(spans) == len(offsets)
    inside = [(p, o) for p, a, b in spans.within(0, first, end) for o in range(a, b)]
    assert inside == sorted((p, o) for p, o in offsets if p == 0 and first <= o < end)
    copy = spans.copy()
    copy.remove(0, 0, 30)
    assert len(spans) == len(offsets)

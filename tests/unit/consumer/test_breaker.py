import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumer.breaker import Breaker, BreakerLimits, BreakerOpenError, longest_run

PLACE = ("events", 0)
LIMITS = BreakerLimits(window=100, at_least=50, ratio=0.2, consecutive=30)


def test_one_bad_record_in_a_hundred_never_trips() -> None:
    breaker = Breaker(LIMITS)
    for _ in range(1_000):
        breaker.observe(PLACE, good=99, bad=1, longest_run=1)


def test_a_run_of_bad_records_trips_across_blocks() -> None:
    breaker = Breaker(BreakerLimits(window=100, at_least=1_000, ratio=1, consecutive=30))
    breaker.observe(PLACE, good=0, bad=29, longest_run=29)
    with pytest.raises(BreakerOpenError, match="30 records in a row"):
        breaker.observe(PLACE, good=0, bad=1, longest_run=1)


def test_a_good_record_ends_the_run() -> None:
    breaker = Breaker(BreakerLimits(window=100, at_least=1_000, ratio=1, consecutive=30))
    for _ in range(10):
        breaker.observe(PLACE, good=0, bad=20, longest_run=20)
        breaker.observe(PLACE, good=1, bad=0, longest_run=0)


def test_the_ratio_counts_once_there_are_enough_records() -> None:
    breaker = Breaker(BreakerLimits(window=100, at_least=50, ratio=0.2, consecutive=0))
    breaker.observe(PLACE, good=20, bad=20, longest_run=20)
    with pytest.raises(BreakerOpenError, match="25 of the last 50"):
        breaker.observe(PLACE, good=5, bad=5, longest_run=5)


def test_old_records_leave_the_window() -> None:
    breaker = Breaker(BreakerLimits(window=100, at_least=100, ratio=0.2, consecutive=0))
    breaker.observe(PLACE, good=0, bad=40, longest_run=40)
    breaker.observe(PLACE, good=160, bad=0, longest_run=0)
    breaker.observe(PLACE, good=81, bad=19, longest_run=1)


def test_switched_off_it_lets_everything_pass() -> None:
    breaker = Breaker(BreakerLimits(window=100, at_least=1, ratio=1, consecutive=0))
    for _ in range(100):
        breaker.observe(PLACE, good=0, bad=100, longest_run=100)


@given(st.lists(st.booleans()))
def test_the_longest_run_is_that_of_the_text(outcomes: list[bool]) -> None:
    bad = [offset for offset, good in enumerate(outcomes) if not good]
    good = [offset for offset, good in enumerate(outcomes) if good]
    text = "".join("." if good else "x" for good in outcomes)
    assert longest_run(bad, good) == max(map(len, text.split(".")), default=0)

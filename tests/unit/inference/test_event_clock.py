"""A client's event time is kept; the times that we assign only increase per viewer."""

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.ids import UserId
from services.inference.events.clock import EventClock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ONE, TWO = UserId(1), UserId(2)
STEP = timedelta(microseconds=1)
OFFSETS = st.integers(-5, 5)


def test_two_events_in_one_microsecond_keep_their_order() -> None:
    clock = EventClock()
    assert [clock.stamp(ONE, None, NOW) for _ in range(3)] == [NOW, NOW + STEP, NOW + 2 * STEP]
    assert clock.stamp(TWO, None, NOW) == NOW


def test_a_stated_time_is_kept_before_and_after_the_viewers_last() -> None:
    clock = EventClock()
    ahead = NOW + timedelta(minutes=4)
    for stated in (ahead, NOW - timedelta(days=9), ahead, NOW):
        assert clock.stamp(ONE, stated, NOW) == stated
    assert clock.stamp(ONE, None, NOW) == ahead + STEP
    assert clock.stamp(TWO, NOW - timedelta(days=9), NOW) == NOW - timedelta(days=9)
    assert clock.stamp(TWO, None, NOW) == NOW


def test_an_assigned_time_is_after_that_of_the_replaced_signal() -> None:
    clock = EventClock()
    assert clock.stamp(ONE, None, NOW, NOW + STEP) == NOW + 2 * STEP  # another replica's clock is ahead
    assert clock.stamp(TWO, NOW, NOW, NOW + STEP) == NOW


@given(st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.none() | OFFSETS, OFFSETS, st.none() | OFFSETS), max_size=30))
def test_stated_times_are_kept_and_assigned_times_are_after_all_earlier_ones(
    stamps: list[tuple[UserId, int | None, int, int | None]],
) -> None:
    clock, greatest = EventClock(), {ONE: NOW - timedelta(days=1), TWO: NOW - timedelta(days=1)}
    for user, stated, now, replaced in stamps:
        known = None if replaced is None else NOW + replaced * STEP
        time = clock.stamp(user, None if stated is None else NOW + stated * STEP, NOW + now * STEP, known)
        if stated is not None:
            assert time == NOW + stated * STEP
        else:
            assert time > greatest[user]
            assert time >= NOW + now * STEP
            assert known is None or time > known
        greatest[user] = max(greatest[user], time)


def test_memory_is_bounded_and_the_most_recent_viewers_are_kept() -> None:
    clock = EventClock(capacity=2)
    for user in (ONE, TWO, ONE, UserId(3)):
        clock.stamp(user, None, NOW)
    assert clock.stamp(ONE, None, NOW) == NOW + 2 * STEP
    assert clock.stamp(TWO, None, NOW) == NOW  # forgotten

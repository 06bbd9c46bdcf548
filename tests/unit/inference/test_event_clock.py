"""A viewer's events only go forward in time."""

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.ids import UserId
from services.inference.event_clock import EventClock

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
ONE, TWO = UserId(1), UserId(2)
STEP = timedelta(microseconds=1)


def test_two_events_in_one_microsecond_keep_their_order() -> None:
    clock = EventClock()
    assert [clock.stamp(ONE, None, NOW) for _ in range(3)] == [NOW, NOW + STEP, NOW + 2 * STEP]
    assert clock.stamp(TWO, None, NOW) == NOW


def test_a_clients_time_is_taken_unless_it_lies_before_the_viewers_last() -> None:
    clock = EventClock()
    ahead = NOW + timedelta(minutes=4)
    assert clock.stamp(ONE, ahead, NOW) == ahead
    assert clock.stamp(ONE, None, NOW) == ahead + STEP
    assert clock.stamp(TWO, NOW - timedelta(days=9), NOW) == NOW - timedelta(days=9)


@given(
    st.lists(st.tuples(st.sampled_from([ONE, TWO]), st.none() | st.integers(-5, 5), st.integers(-5, 5)), max_size=30)
)
def test_times_of_one_viewer_strictly_increase_whatever_the_clocks_do(
    stamps: list[tuple[UserId, int | None, int]],
) -> None:
    clock, last = EventClock(), {ONE: NOW - timedelta(days=1), TWO: NOW - timedelta(days=1)}
    for user, claimed, now in stamps:
        time = clock.stamp(user, None if claimed is None else NOW + claimed * STEP, NOW + now * STEP)
        assert time > last[user]
        last[user] = time


def test_memory_is_bounded_and_the_viewers_seen_last_are_kept() -> None:
    clock = EventClock(capacity=2)
    for user in (ONE, TWO, ONE, UserId(3)):
        clock.stamp(user, None, NOW)
    assert clock.stamp(ONE, None, NOW) == NOW + 2 * STEP
    assert clock.stamp(TWO, None, NOW) == NOW  # forgotten

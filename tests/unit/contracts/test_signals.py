from datetime import datetime, timezone
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import Action
from services.contracts.signals import Signal, signal_of, signal_version, to_microseconds, value_of

YEAR_2100 = 4_102_444_800_000_000


def test_undo_is_a_value_not_a_delete() -> None:
    assert signal_of(Action.LIKE, None) == (Signal.OPINION, 1.0)
    assert signal_of(Action.UNLIKE, None) == (Signal.OPINION, 0.0)
    assert signal_of(Action.DISLIKE, None) == (Signal.OPINION, -1.0)
    assert signal_of(Action.UNDISLIKE, None) == (Signal.OPINION, 0.0)
    assert signal_of(Action.WATCH, None) == (Signal.WATCHED, 1.0)
    assert signal_of(Action.UNWATCH, None) == (Signal.WATCHED, 0.0)
    assert signal_of(Action.UNRATE, None) == (Signal.RATING, 0.0)
    assert signal_of(Action.RATE, 0.5) == (Signal.RATING, 0.5)


@given(st.integers(0, YEAR_2100), st.integers(0, YEAR_2100), st.uuids(), st.uuids())
def test_the_later_event_wins_whatever_its_id(first: int, second: int, one: UUID, other: UUID) -> None:
    if first != second:
        assert (signal_version(first, one, 1.0) < signal_version(second, other, 0.0)) == (first < second)


@given(st.integers(0, YEAR_2100), st.uuids())
def test_a_version_fits_an_unsigned_integer_of_128_bits(time: int, event_id: UUID) -> None:
    assert 0 <= signal_version(time, event_id, -1.0) < 2**128


def test_microseconds_are_exact_where_floats_are_not() -> None:
    time = datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
    assert to_microseconds(time) == 4_102_444_799_999_999


@given(st.integers(0, YEAR_2100), st.uuids(), st.sampled_from([-1.0, 0.0, 0.5, 1.0, 5.0]))
def test_a_version_holds_its_value_so_that_equal_versions_set_equal_values(time: int, one: UUID, value: float) -> None:
    assert value_of(signal_version(time, one, value)) == value

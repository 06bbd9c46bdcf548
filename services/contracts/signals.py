"""Signals: the latest value of each kind of feedback per (user, item).

An event sets one signal; of two events that set the same signal the one with the greater
`signal_version` wins, whatever the order in which they arrive. Undo is a value, not a delete.
The ClickHouse materialized view ``signals_mv`` says the same in SQL; a property test compares both.
"""

from datetime import datetime, timedelta, timezone
from enum import StrEnum
from uuid import UUID

from services.contracts.events import Action

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Signal(StrEnum):
    """The three independent kinds of feedback that a viewer can give to a film."""

    OPINION = "opinion"
    """+1 liked, -1 disliked, 0 withdrawn."""
    RATING = "rating"
    """Stars, 0.5 to 5."""
    WATCHED = "watched"
    """1 once watched."""


_OPINION_OF = {Action.LIKE: 1.0, Action.UNLIKE: 0.0, Action.DISLIKE: -1.0, Action.UNDISLIKE: 0.0}


def signal_of(action: Action, value: float | None) -> tuple[Signal, float]:
    """Return the signal that an event sets, and the value it sets it to.

    >>> signal_of(Action.UNLIKE, None)
    (<Signal.OPINION: 'opinion'>, 0.0)
    >>> signal_of(Action.RATE, 4.5)
    (<Signal.RATING: 'rating'>, 4.5)
    """
    if action is Action.RATE:
        assert value is not None, "the event model requires a value with 'rate'"
        return Signal.RATING, value
    if action is Action.WATCH:
        return Signal.WATCHED, 1.0
    return Signal.OPINION, _OPINION_OF[action]


def to_microseconds(time: datetime) -> int:
    """Return the exact number of microseconds from 1970-01-01 UTC to ``time`` (aware).

    >>> to_microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=timezone.utc))
    1000005
    """
    return (time - EPOCH) // timedelta(microseconds=1)


def signal_version(event_time_us: int, event_id: UUID) -> int:
    """Return the order of an event among those that set the same signal: later time, then greater id.

    The time takes the upper 64 bits and the id's lower 64 bits break ties, so that it fits
    ClickHouse ``UInt128`` and two replicas that see the events in another order agree.
    """
    return (event_time_us << 64) | (event_id.int & 0xFFFF_FFFF_FFFF_FFFF)

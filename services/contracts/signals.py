"""Signals: the latest value of each kind of feedback per (user, item).

An event sets one signal; of two events that set the same signal the one with the greater
`signal_version` wins, whatever the order in which they arrive. Undo is a value, not a delete.
The ClickHouse materialized view ``signals_mv`` says the same in SQL; a property test compares both.
"""

import struct
from datetime import datetime, timezone
from enum import StrEnum
from uuid import UUID

from services.contracts.events import Action

DECODER_VERSION = 2
"""Increased with every change in decoding, at most to 63. Rows of another decoder version are never deduplicated
against ours, and of two rows decoded from one record the later version's counts."""
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Signal(StrEnum):
    """The three independent kinds of feedback that a viewer can give to a film."""

    OPINION = "opinion"
    """+1 liked, -1 disliked, 0 withdrawn."""
    RATING = "rating"
    """Stars, 0.5 to 5; 0 withdrawn."""
    WATCHED = "watched"
    """1 watched, 0 withdrawn."""


_SIGNAL_OF = {
    Action.LIKE: (Signal.OPINION, 1.0),
    Action.UNLIKE: (Signal.OPINION, 0.0),
    Action.DISLIKE: (Signal.OPINION, -1.0),
    Action.UNDISLIKE: (Signal.OPINION, 0.0),
    Action.UNRATE: (Signal.RATING, 0.0),
    Action.WATCH: (Signal.WATCHED, 1.0),
    Action.UNWATCH: (Signal.WATCHED, 0.0),
}
ID_BITS = 26
"""How many of the lowest bits of an event's id order events with the same time."""
BITS_BELOW_ID = 38
_FLOAT, _BITS = struct.Struct("<f"), struct.Struct("<I")


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
    return _SIGNAL_OF[action]


def to_microseconds(time: datetime) -> int:
    """Return the exact number of microseconds from 1970-01-01 UTC to ``time`` (aware).

    >>> to_microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=timezone.utc))
    1000005
    """
    since = time - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds  # four times as fast as a division


def signal_version(event_time_us: int, event_id: UUID, value: float, decoder: int = DECODER_VERSION) -> int:
    """Return the order of an event among those that set the same signal: later time, greater id, later decoder, value.

    From the top: 64 bits of time, the id's lowest 26 bits, 6 bits of the decoder's version, the value as the bits of a
    float32. It fits ClickHouse ``UInt128``; and since it holds the value, two events with equal versions set equal
    values: replicas and tables that see events in another order agree, even where one id was used for two events.
    """
    (bits,) = _BITS.unpack(_FLOAT.pack(value))
    return event_time_us << 64 | (event_id.int & (1 << ID_BITS) - 1) << BITS_BELOW_ID | decoder << 32 | int(bits)


def value_of(version: int) -> float:
    """Return the value that `signal_version` put into a version.

    >>> value_of(signal_version(1, UUID(int=7), 4.5))
    4.5
    """
    (value,) = _FLOAT.unpack(_BITS.pack(version & 0xFFFF_FFFF))
    return float(value)

"""Validates ratings by the rules of the event model, for whole columns at once.

A property test compares them with `services.contracts.events.Event`, row by row.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from services.contracts.events import EARLIEST_EVENT_TIME, MAX_CLOCK_AHEAD_SECONDS
from services.contracts.ids import MAX_ID, PROBE_USER
from services.contracts.signals import EPOCH, to_microseconds

_compute: Any = pyarrow.compute

USER, ITEM, RATING, TIME = COLUMNS = ("user_id", "item_id", "rating", "timestamp")
TYPED = {USER: pa.int64(), ITEM: pa.int64(), RATING: pa.float64(), TIME: pa.int64()}
"""Types for a block that holds nothing but plain numbers; times in whole seconds."""
_LOWEST, _HIGHEST = 0.5, 5.0
_ID = r"^0*[0-9]{1,16}$"
_STARS = r"^0*[0-9](\.[0-9]+)?$"
_WHOLE_SECONDS = r"^[0-9]{1,18}$"
_SECONDS = re.compile(r"([0-9]{1,11})(?:\.([0-9]{1,6}))?")
_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_NO_TIME = np.iinfo(np.int64).min
_SECOND = 1_000_000
_EARLIEST_US = to_microseconds(EARLIEST_EVENT_TIME)
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Ratings:
    """Values of consecutive rows; what was not a number at all is 0 or NaN, what was no time `_NO_TIME`."""

    user_id: NDArray[np.int64]
    item_id: NDArray[np.int64]
    rating: NDArray[np.float64]
    time_us: NDArray[np.int64]

    def at(self, rows: NDArray[Any]) -> "Ratings":
        """Return some of the rows, chosen as NumPy does."""
        return Ratings(self.user_id[rows], self.item_id[rows], self.rating[rows], self.time_us[rows])


def of_numbers(columns: dict[str, Any]) -> Ratings:
    """Return columns of the types `TYPED`."""
    user_id, item_id, rating, seconds = (columns[name].to_numpy(zero_copy_only=False) for name in COLUMNS)
    return Ratings(user_id, item_id, rating, _microseconds(seconds))


def of_strings(columns: dict[str, Any]) -> Ratings:
    """Return columns of strings as numbers."""
    times = columns[TIME]
    whole = _matching(times, _WHOLE_SECONDS)
    time_us = _microseconds(_cast(times, whole, pa.int64(), "0"))
    for row in np.flatnonzero(~whole):
        time = time_of(times[int(row)].as_py())
        time_us[row] = _NO_TIME if time is None else to_microseconds(time)
    rating = _cast(columns[RATING], _matching(columns[RATING], _STARS), pa.float64(), "nan")
    user_id, item_id = (_cast(columns[name], _matching(columns[name], _ID), pa.int64(), "0") for name in (USER, ITEM))
    return Ratings(user_id, item_id, rating, time_us)


def time_of(text: str) -> datetime | None:
    """Return the time that ``text`` says: seconds since 1970, or ISO 8601 with a zone; None if it is neither.

    >>> time_of("1.5").isoformat(), time_of("2026-11-21T04:00:00+01:00").isoformat(), time_of("2026-11-21")
    ('1970-01-01T00:00:01.500000+00:00', '2026-11-21T04:00:00+01:00', None)
    """
    if seconds := _SECONDS.fullmatch(text):
        return EPOCH + timedelta(seconds=int(seconds[1]), microseconds=int((seconds[2] or "0").ljust(6, "0")))
    if not _ISO.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


class Rules:
    """What a valid rating is."""

    def __init__(self, film_ids: Iterable[int], now: datetime) -> None:
        """Take the ids of all films, and the present time."""
        films = np.array(sorted(film_ids), np.int64)
        latest_us = to_microseconds(now) + MAX_CLOCK_AHEAD_SECONDS * _SECOND
        not_an_id = f"not a whole number from 1 to {MAX_ID}"
        self._rules: list[tuple[str, str, Callable[[Ratings], NDArray[np.bool_]]]] = [
            (USER, "reserved for the probe", lambda r: r.user_id == PROBE_USER),
            (USER, not_an_id, lambda r: (r.user_id < 1) | (r.user_id > MAX_ID)),
            (ITEM, not_an_id, lambda r: (r.item_id < 1) | (r.item_id > MAX_ID)),
            (ITEM, "not in the catalogue", lambda r: ~np.isin(r.item_id, films)),
            (RATING, "not a number from 0.5 to 5", lambda r: ~((r.rating >= _LOWEST) & (r.rating <= _HIGHEST))),
            (TIME, "neither seconds since 1970 nor ISO 8601 with a zone", lambda r: r.time_us == _NO_TIME),
            (TIME, f"before {EARLIEST_EVENT_TIME:%Y-%m-%d}", lambda r: r.time_us < _EARLIEST_US),
            (TIME, "in the future (whole seconds count from 1970)", lambda r: r.time_us > latest_us),
        ]

    def wrong_rows(self, ratings: Ratings) -> NDArray[np.bool_]:
        """Return which rows are no valid ratings."""
        wrong = np.zeros(len(ratings.user_id), np.bool_)
        for _, _, breaks in self._rules:
            wrong |= breaks(ratings)
        return wrong

    def reason(self, ratings: Ratings, row: int, texts: dict[str, str]) -> str:
        """Return what is wrong with a row, whose values in the file are ``texts``: the first fault of each column."""
        one, faults = ratings.at(np.array([row])), dict[str, str]()
        for column, fault, breaks in self._rules:
            if breaks(one)[0]:
                faults.setdefault(column, fault)
        return "; ".join(f"{name} {texts[name][:_SHOWN_CHARACTERS]!r}: {fault}" for name, fault in faults.items())


def _microseconds(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    # Times that would overflow are in the future anyway.
    return np.minimum(seconds, np.iinfo(np.int64).max // _SECOND) * _SECOND


def _matching(column: Any, pattern: str) -> NDArray[np.bool_]:
    matching: NDArray[np.bool_] = _compute.match_substring_regex(column, pattern).to_numpy(zero_copy_only=False)
    return matching


def _cast(column: Any, valid: NDArray[np.bool_], kind: Any, otherwise: str) -> NDArray[Any]:
    if not valid.all():
        column = _compute.if_else(pa.array(valid), column, otherwise)
    numbers: NDArray[Any] = _compute.cast(column, kind).to_numpy(zero_copy_only=False).copy()
    return numbers

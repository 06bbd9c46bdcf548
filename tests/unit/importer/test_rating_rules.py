"""The rules for whole columns and the event model say the same of each row."""

import io
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.contracts.events import MAX_CLOCK_AHEAD_SECONDS, Event, from_json
from services.contracts.ids import MAX_ID
from services.importer import ratings_file
from services.importer.landing import LAYOUT
from services.importer.rating_rules import Rules

NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)
LATEST = int(NOW.timestamp()) + MAX_CLOCK_AHEAD_SECONDS
FILMS = frozenset({1, 2, 50, MAX_ID})

ids = st.one_of(
    st.integers(-2, 60).map(str),
    st.integers(MAX_ID - 3, MAX_ID + 3).map(str),
    st.sampled_from(
        ["", "true", "1.0", "4_2", "1e0", " 7", "7 ", "٤", "0x1", "+1", "NaN", "null", str(2**63), str(2**64)]
    ),
)
stars = st.one_of(
    st.floats(0, 6).map(repr),
    st.integers(-1, 7).map(str),
    st.sampled_from(["0.5", "5.0", "5.0000001", "0.4999999", "", "nan", "inf", "true", "4_0", " 4", "٤", "0x4", "+4"]),
)
times = st.one_of(
    st.integers(86_398, 86_402).map(str),
    st.integers(LATEST - 2, LATEST + 2).map(str),
    st.integers(-1, 10**19).map(str),
    st.datetimes(datetime(1969, 12, 30), datetime(2027, 1, 1)).map(lambda time: time.isoformat() + "Z"),
    st.sampled_from(["20010101T000000Z", "2001-W01-1T00:00:00Z", "2001-01-01 00:00:00+0100", "2001-01-01T00:00Z"]),
    st.sampled_from(["", "now", "2001-01-01", "2001-01-01T00:00:00", "2001-13-01T00:00:00Z", "9.7e8", "٩٧٨٣٠٠٧٦٠"]),
)


def _event_takes(user: str, item: str, value: str, time: str) -> bool:
    """What the event model says of these values as JSON, where a number is what JSON calls one."""
    if any(number != number.strip() for number in (user, item, value)):
        return False  # JSON allows spaces around a number; they are no part of it
    stated = time
    if time.isascii() and time.isdecimal():  # pydantic takes greater numbers for milliseconds
        try:
            stated = (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=int(time))).isoformat()
        except OverflowError:
            return False
    body = (
        f'{{"event_id": "{UUID(int=7)}", "user_id": {user}, "item_id": {item}, "action": "rate", "value": {value},'
        f' "event_time": "{stated}", "source": "landing"}}'
    )
    try:
        event = from_json(Event, body.encode(), NOW)
    except ValidationError:
        return False
    return event.item_id in FILMS


def _file_takes(*values: str) -> bool:
    content = ("user_id,item_id,rating,timestamp\n" + ",".join(values) + "\n").encode()
    return ratings_file.check(io.BytesIO(content), LAYOUT, Rules(FILMS, NOW)).bad_lines == 0


@settings(max_examples=400, deadline=None)
@given(ids, ids, stars, times)
@example("42", "50", "4.5", "978300760")
@example("1", "1", "0.5", "86400")
@example(str(MAX_ID), str(MAX_ID), "5", str(LATEST))
def test_a_row_is_valid_exactly_if_its_event_is(user: str, item: str, value: str, time: str) -> None:
    assert _file_takes(user, item, value, time) == _event_takes(user, item, value, time)


@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize(("text", "valid"), [("{}", True), ('"{}"', True), (" {}", False), ('" {}"', False)])
def test_quotation_marks_are_no_part_of_a_value_and_spaces_are(column: int, text: str, valid: bool) -> None:
    values = ["42", "50", "4.5", "978300760"]
    values[column] = text.format(values[column])
    assert _file_takes(*values) is valid

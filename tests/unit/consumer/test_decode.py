import json
from contextlib import suppress
from datetime import datetime, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumer.decode import (
    EVENT_COLUMNS,
    IMPRESSION_COLUMNS,
    OFFSET,
    USER,
    Reason,
    UndecodableError,
    decode_event,
    decode_impression,
    events_stream,
    user_of,
)
from services.consumer.record import Record

GOOD = {
    "event_id": "00000000-0000-0000-0000-00000000002a",
    "user_id": 7,
    "item_id": 9,
    "action": "rate",
    "value": 4.5,
    "event_time": "1970-01-02T00:00:01.000005Z",
    "request_id": None,
    "source": "demo",
    "schema_version": 1,
}

RECORD_MS = 1_793_491_200_000  # 2026-11-01


def record(value: bytes | dict[str, object], key: bytes = b"7") -> Record:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record("events", 3, 11, RECORD_MS, key, raw)


def test_a_good_event_becomes_a_row_of_its_columns() -> None:
    row = dict(zip(EVENT_COLUMNS, decode_event(record(GOOD), epoch=5), strict=True))
    assert row == {
        "epoch": 5, "partition": 3, "offset": 11, "record_time": RECORD_MS, "user_id": 7, "event_id": 42, "item_id": 9,
        "action": "rate", "value": 4.5, "event_time": 86_401_000_005, "request_id": None, "source": "demo",
        "schema_version": 1,
    }  # fmt: skip
    assert (EVENT_COLUMNS[OFFSET], EVENT_COLUMNS[USER]) == ("offset", "user_id")


def test_a_good_impression_becomes_a_row_of_its_columns() -> None:
    shown = {
        "request_id": str(UUID(int=6)), "user_id": 7, "item_ids": [3, 1], "strategy": "als", "variant": "a",
        "model_version": "v1", "served_at": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    row = dict(zip(IMPRESSION_COLUMNS, decode_impression(record(shown), epoch=5), strict=True))
    assert row["item_ids"] == [3, 1]
    assert row["request_id"] == 6
    assert row["served_at"] == int(datetime(2026, 11, 1, tzinfo=timezone.utc).timestamp()) * 1_000_000
    assert (IMPRESSION_COLUMNS[OFFSET], IMPRESSION_COLUMNS[USER]) == ("offset", "user_id")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"{", Reason.JSON),
        (b"\xff\xfe", Reason.JSON),
        (b"[]", Reason.INVALID),
        (GOOD | {"schema_version": 2}, Reason.SCHEMA_VERSION),
        (GOOD | {"action": "adore"}, Reason.INVALID),
        (GOOD | {"value": None}, Reason.INVALID),
        (GOOD | {"user_id": 0}, Reason.INVALID),
        (GOOD | {"user_id": 2**63}, Reason.INVALID),
        (GOOD | {"surprise": 1}, Reason.INVALID),
        (GOOD | {"event_time": "2026-11-01T00:00:00"}, Reason.INVALID),
        (GOOD | {"event_time": "9999-01-01T00:00:00Z"}, Reason.INVALID),
        (GOOD | {"event_time": "1969-01-01T00:00:00Z"}, Reason.INVALID),
    ],
)
def test_what_is_no_event_is_told_apart_by_reason(value: bytes | dict[str, object], reason: Reason) -> None:
    with pytest.raises(UndecodableError) as caught:
        decode_event(record(value), epoch=5)
    assert caught.value.reason is reason


def test_the_reason_repeats_nothing_that_the_sender_wrote() -> None:
    with pytest.raises(UndecodableError) as caught:
        decode_event(record(GOOD | {"source": "SECRET 1", "SECRET_2": 3, "action": "SECRET4"}), epoch=5)
    assert "SECRET" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_row_or_a_reason(value: bytes) -> None:
    with suppress(UndecodableError):  # anything else would stop the consumer
        events_stream("events").decode(record(value), 5)


@pytest.mark.parametrize(
    ("value", "key", "user"),
    [
        (b'{"user_id": 12}', b"7", 12),
        (b'{"user_id": "12"}', b"7", 12),
        (b'{"user_id": true}', b"7", 7),
        (b"broken", b"7", 7),
        (b"broken", b"seven", None),
        (b"broken", b"0", None),
        (b"broken", b"9" * 30, None),
        (b'{"user_id": -4}', b"", None),
    ],
)
def test_the_viewer_of_a_bad_record_is_found_where_it_can_be(value: bytes, key: bytes, user: int | None) -> None:
    assert user_of(record(value, key)) == user

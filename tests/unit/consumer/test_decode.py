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
from services.contracts.signals import DECODER_VERSION

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

SHOWN = {
    "request_id": str(UUID(int=6)), "user_id": 7, "item_ids": [3, 1], "strategy": "als", "variant": "a",
    "model_version": "v1", "served_at": "2026-11-01T00:00:00Z",
}  # fmt: skip
RECORD_MS = 1_793_491_200_000  # 2026-11-01


def record(value: bytes | dict[str, object], key: bytes = b"7") -> Record:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record("events", 3, 11, RECORD_MS, key, raw)


def test_a_good_event_becomes_a_row_of_its_columns() -> None:
    row = dict(zip(EVENT_COLUMNS, decode_event(record(GOOD), epoch=5), strict=True))
    assert row == {
        "epoch": 5, "partition": 3, "offset": 11, "record_time": RECORD_MS, "user_id": 7, "event_id": 42, "item_id": 9,
        "action": "rate", "value": 4.5, "event_time": 86_401_000_005, "request_id": None, "source": "demo",
        "schema_version": 1, "decoder_version": DECODER_VERSION,
    }  # fmt: skip
    assert (EVENT_COLUMNS[OFFSET], EVENT_COLUMNS[USER]) == ("offset", "user_id")


def test_a_good_impression_becomes_a_row_of_its_columns() -> None:
    row = dict(zip(IMPRESSION_COLUMNS, decode_impression(record(SHOWN), epoch=5), strict=True))
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
        (GOOD | {"event_time": "2026-11-01T00:05:00.001Z"}, Reason.INVALID),
        (GOOD | {"event_time": "2100-01-01T00:00:00Z"}, Reason.INVALID),
        (GOOD | {"event_time": 1_793_491_200}, Reason.INVALID),
        (GOOD | {"user_id": True}, Reason.INVALID),
        (GOOD | {"user_id": "7"}, Reason.INVALID),
        (GOOD | {"user_id": 7.0}, Reason.INVALID),
        (GOOD | {"item_id": 2**53 - 1}, Reason.INVALID),
        (GOOD | {"value": "4.5"}, Reason.INVALID),
        (GOOD | {"value": True}, Reason.INVALID),
        (GOOD | {"source": "probe"}, Reason.INVALID),
        (GOOD | {"user_id": 2**53 - 1}, Reason.INVALID),
    ],
    ids=lambda value: repr(value)[-60:],
)
def test_what_is_no_event_is_told_apart_by_reason(value: bytes | dict[str, object], reason: Reason) -> None:
    with pytest.raises(UndecodableError) as caught:
        decode_event(record(value), epoch=5)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    "change",
    [
        {"served_at": "2026-11-01T00:05:00.001Z"},
        {"served_at": "2100-01-01T00:00:00Z"},
        {"served_at": "1970-01-01T00:00:00Z"},
        {"served_at": 1_793_491_200},
        {"user_id": True},
        {"item_ids": ["3"]},
        {"item_ids": [True]},
        {"item_ids": [2**53 - 1]},
        {"strategy": "x" * 201},
        {"model_version": 1},
    ],
)
def test_what_is_no_impression_is_refused(change: dict[str, object]) -> None:
    decode_impression(record(SHOWN), epoch=5)
    with pytest.raises(UndecodableError) as caught:
        decode_impression(record(SHOWN | change), epoch=5)
    assert caught.value.reason is Reason.INVALID


def test_an_event_may_be_ahead_of_its_record_by_as_much_as_clocks_differ() -> None:
    decode_event(record(GOOD | {"event_time": "2026-11-01T00:05:00Z"}), epoch=5)


def test_the_reason_repeats_nothing_that_the_sender_wrote() -> None:
    with pytest.raises(UndecodableError) as caught:
        decode_event(record(GOOD | {"source": "SECRET 1", "SECRET_2": 3, "action": "SECRET4"}), epoch=5)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        b'{"item_id": ' + b"9" * 5_000 + b"}",
        b'{"item_id": ' + b"9" * 900_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 500_000,
        b'{"source": "\\ud800"}',
        b'{"\\udfff": 1}',
        json.dumps(GOOD | {"value": float("nan")}).encode(),
        json.dumps(GOOD | {"value": float("-inf")}).encode(),
        json.dumps(GOOD | {"source": "x" * 900_000}).encode(),
        json.dumps(GOOD).encode("utf-16"),
        b"\x00" * 900_000,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_odd_bytes_are_told_why_in_a_line(value: bytes) -> None:
    for decode in (decode_event, decode_impression):
        with pytest.raises(UndecodableError) as caught:
            decode(record(value), 5)
        caught.value.detail.encode()
        assert len(caught.value.detail) < 1_000


def test_a_record_of_very_many_mistakes_is_told_by_their_number() -> None:
    value = json.dumps(GOOD | {f"field{n}": 1 for n in range(60_000)}).encode()
    with pytest.raises(UndecodableError, match="60000 fields") as caught:
        decode_event(record(value), 5)
    assert caught.value.reason is Reason.INVALID


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
        (b'{"user_id": -4}', b"7", 7),
        (b'{"user_id": 12.0}', b"7", 12),
        (b'{"user_id": 1e400}', b"7", 7),
        (b'{"user_id": NaN}', b"", None),
        (b'{"user_id": 11, "user_id": 12}', b"7", 12),
        (b'{"user_id": 12, "item_id": ' + b"9" * 5_000 + b"}", b"", 12),
        (b'{"user_id": ' + b"9" * 5_000 + b"}", b"7", 7),
        (b'{"user_id": ' + b"9" * 4_000 + b"}", b"7", 7),
        (b'{"user_id": 12, "item_id": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", b"", 12),
        (b'{"user_id": 12, "source": "\\ud800"}', b"", 12),
        (b'{"user_id": "\\ud800"}', b"7", 7),
        (b'{"user_id": 12, "source": "\xff"}', b"", 12),
        (b'{"user_id": "12", "source": "cut off', b"", 12),
        (b'{"user_id":12}garbage', b"\xff\x00", 12),
        ('{"user_id": 12}'.encode("utf-16"), b"", 12),
        (b"[12]", b"7", 7),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_viewer_of_a_bad_record_is_found_where_it_can_be(value: bytes, key: bytes, user: int | None) -> None:
    assert user_of(record(value, key)) == user

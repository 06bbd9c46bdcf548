"""The fast path of decoding agrees with the slow path wherever it returns a change."""

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from services.contracts.events import EARLIEST_EVENT_TIME, Action, Event, from_json
from services.contracts.ids import MAX_ID, PROBE_SOURCE, PROBE_USER, ItemId, UserId
from services.contracts.signals import EPOCH, to_microseconds
from services.inference.history.live import Change
from services.inference.history.quick_decode import quick_change
from services.inference.history.stamps import slot_and_version

NOW = datetime(2026, 11, 26, 3, tzinfo=timezone.utc)
NOW_MS = to_microseconds(NOW) // 1_000
IDS = st.integers(1, 5) | st.integers(1, MAX_ID) | st.sampled_from([MAX_ID, 10**15 - 1, 10**15])


def slow_path(value: bytes, time_ms: int) -> Change | None:
    try:
        event = from_json(Event, value, EPOCH + timedelta(milliseconds=time_ms))
    except ValidationError:
        return None
    return event.user_id, *slot_and_version(event)


@st.composite
def events(draw: st.DrawFn) -> Event:
    action = draw(st.sampled_from(Action))
    user = draw(IDS | st.just(PROBE_USER))
    return Event(
        user_id=UserId(user),
        item_id=ItemId(draw(IDS)),
        action=action,
        value=draw(st.sampled_from([0.5, 3.0, 3.3, 5.0])) if action is Action.RATE else None,
        request_id=draw(st.none() | st.uuids()),
        source=PROBE_SOURCE if user == PROBE_USER else draw(st.sampled_from(["api", "demo-2", "probe2", "a.b_c"])),
        event_id=draw(st.uuids()),
        event_time=draw(
            st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)).map(lambda t: t.replace(tzinfo=timezone.utc))
            | st.integers(-3, 3).map(lambda n: NOW + timedelta(minutes=5, microseconds=n))
            | st.sampled_from([NOW, EARLIEST_EVENT_TIME])
        ),
    )


@settings(deadline=None)
@given(events(), st.sampled_from([NOW_MS, -1, 0, 7_258_118_400_000]))
def test_both_paths_agree_on_every_event(event: Event, time_ms: int) -> None:
    value = event.model_dump_json().encode()
    assert quick_change(value, time_ms) in (None, slow_path(value, time_ms))


@settings(deadline=None)
@given(events(), st.data())
def test_the_fast_path_accepts_nothing_that_the_slow_path_refuses(event: Event, data: st.DataObject) -> None:
    value = bytearray(event.model_dump_json().encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value) - 1))
        new = data.draw(st.sampled_from(b'0123456789-"{}:,.TZeE+ \x00\xff') | st.integers(0, 255))
        if data.draw(st.booleans()):
            value[at] = new
        elif data.draw(st.booleans()):
            value.insert(at, new)
        else:
            del value[at]
    found = quick_change(bytes(value), NOW_MS)
    assert found is None or found == slow_path(bytes(value), NOW_MS)


@pytest.mark.parametrize("action", Action)
def test_records_of_our_producer_take_the_fast_path(action: Action) -> None:
    for time in (NOW, NOW + timedelta(microseconds=5)):
        event = Event(
            user_id=UserId(42), item_id=ItemId(50), action=action, value=4.5 if action is Action.RATE else None,
            request_id=UUID(int=9), source="demo", event_id=UUID(int=2**127 + 5), event_time=time,
        )  # fmt: skip
        found = quick_change(event.model_dump_json().encode(), NOW_MS)
        assert found is not None
        assert found == slow_path(event.model_dump_json().encode(), NOW_MS)


@pytest.mark.parametrize(
    "change",
    [
        (b'"source":"demo"', b'"source":"probe"'),
        (b'"schema_version":1', b'"schema_version":2'),
        (b'"user_id":42', b'"user_id":true'),
        (b'"user_id":42', b'"user_id":042'),
        (b'"user_id":42', b'"user_id":42,"user_id":43'),
        (b'"user_id":42', b'"user_id":9007199254740993'),
        (b'"value":null', b'"value":4.5'),
        (b"T03:00:00Z", b"T03:05:00.000001Z"),
        (b"T03:00:00Z", b"T24:00:00Z"),
        (b"2026-11-26", b"2026-02-30"),
        (b"2026-11-26", b"2100-01-01"),
        (b"2026-11-26", b"0000-01-01"),
        (b"2026-11-26", b"1970-01-01"),
    ],
)
def test_anything_uncertain_is_left_to_the_slow_path(change: tuple[bytes, bytes]) -> None:
    event = Event(
        user_id=UserId(42), item_id=ItemId(50), action=Action.LIKE, source="demo", event_id=UUID(int=1), event_time=NOW
    )
    value = event.model_dump_json().encode()
    assert quick_change(value, NOW_MS) is not None
    assert quick_change(value.replace(*change), NOW_MS) is None

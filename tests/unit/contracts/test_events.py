import json
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.contracts.events import Action, Event, EventIn, from_json
from services.contracts.ids import MAX_ID, PROBE_SOURCE, PROBE_USER
from services.contracts.schema import SCHEMA_FILE, render

COMPLETE = {
    "event_id": "6f1c1c66-8f3c-4a1e-9d33-0e9a8c2b7d10",
    "user_id": 42,
    "item_id": 50,
    "action": "like",
    "event_time": "2026-11-21T03:00:00.000001Z",
}


def test_an_event_survives_the_topic_with_its_microseconds() -> None:
    event = Event.model_validate(COMPLETE)
    assert Event.model_validate_json(event.model_dump_json()) == event
    assert event.event_time == datetime(2026, 11, 21, 3, 0, 0, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"action": "adore"}, "action"),
        ({"action": "rate"}, "value is required"),
        ({"value": 3}, "only allowed with the action 'rate'"),
        ({"action": "rate", "value": 5.5}, "value"),
        ({"action": "rate", "value": float("nan")}, "value"),
        ({"user_id": 0}, "user_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"item_id": "abc"}, "item_id"),
        ({"event_time": "2026-11-21T03:00:00"}, "event_time"),
        ({"schema_version": 2}, "schema_version"),
        ({"event_id": "not-a-uuid"}, "event_id"),
        ({"source": "Bad Source"}, "source"),
    ],
)
def test_the_error_names_the_invalid_field(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Event.model_validate(COMPLETE | change)


def test_a_client_may_leave_id_and_time_out_but_a_record_may_not() -> None:
    short = {key: COMPLETE[key] for key in ("user_id", "item_id", "action")}
    assert EventIn.model_validate(short).event_id is None
    with pytest.raises(ValidationError):
        Event.model_validate(short)


def test_only_rate_has_a_value() -> None:
    for action in Action:
        value = 4.0 if action is Action.RATE else None
        event = Event(
            event_id=uuid4(),
            user_id=1,
            item_id=1,
            action=action,
            value=value,
            event_time=datetime.now(timezone(timedelta(hours=2))),
        )
        assert event.value == value


def test_the_committed_json_schema_matches_the_model() -> None:
    assert SCHEMA_FILE.read_text() == render(), "run: python -m services.contracts.schema"
    assert json.loads(render())["additionalProperties"] is False


NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"user_id": True}, "user_id"),
        ({"user_id": "42"}, "user_id"),
        ({"user_id": 42.0}, "user_id"),
        ({"item_id": MAX_ID + 1}, "item_id"),
        ({"user_id": MAX_ID + 2}, "user_id"),
        ({"action": "rate", "value": "4"}, "value"),
        ({"action": "rate", "value": True}, "value"),
        ({"event_time": 1_700_000_000}, "event_time"),
        ({"event_time": "1700000000"}, "event_time"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": 1.0}, "schema_version"),
        ({"event_time": "-1700000000.5"}, "event_time"),
        ({"event_time": "1970-01-01T00:00:00Z"}, "event_time"),
        ({"event_time": "2026-11-21T03:05:00.000001Z"}, "event_time"),
        ({"user_id": PROBE_USER}, "source"),
        ({"source": PROBE_SOURCE}, "source"),
    ],
)
def test_json_is_validated_strictly(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError) as refused:
        from_json(Event, json.dumps(COMPLETE | change).encode(), NOW)
    assert [error["loc"] for error in refused.value.errors()] == [(named,)]


@pytest.mark.parametrize(
    "change",
    [
        {"event_time": "2026-11-21T03:05:00Z"},
        {"user_id": MAX_ID, "item_id": MAX_ID},
        {"user_id": PROBE_USER, "source": PROBE_SOURCE},
        {"action": "rate", "value": 4},
        {"action": "unrate"},
        {"action": "unwatch"},
    ],
)
def test_values_at_the_bounds_are_accepted(change: dict[str, object]) -> None:
    event = from_json(Event, json.dumps(COMPLETE | change).encode(), NOW)
    assert from_json(Event, event.model_dump_json().encode(), NOW) == event


@pytest.mark.parametrize("again", ['"user_id": 42', '"user_id" : 43', '"user_id"\n:\t43', r'"user\u005fid": 43'])
def test_duplicate_fields_are_refused(again: str) -> None:
    value = json.dumps(COMPLETE)
    assert from_json(Event, value.encode(), NOW).user_id == COMPLETE["user_id"]
    with pytest.raises(ValidationError, match="is given twice"):
        from_json(Event, f"{value[:-1]}, {again}}}".encode(), NOW)


@pytest.mark.parametrize(
    ("time", "good"),
    [
        ("2026-11-21T03:00:00Z", True),
        ("2026-11-21t03:00:00.5z", True),
        ("2026-11-21 04:00:00.1234567+01:00", True),
        ("1700000000", False),
        ("1700000000.5", False),
        ("2026-11-21T03:00:00", False),
        ("2026-11-21", False),
        ("", False),
    ],
)
def test_a_time_is_text_with_a_zone_for_the_api_and_for_the_topic(time: str, good: bool) -> None:
    for kind in (Event, EventIn):
        value = json.dumps(COMPLETE | {"event_time": time}).encode()
        if good:
            assert from_json(kind, value, NOW).model_dump()["event_time"] == pytest.approx(
                NOW, abs=timedelta(seconds=1)
            )
        else:
            with pytest.raises(ValidationError) as refused:
                from_json(kind, value, NOW)
            assert [error["loc"] for error in refused.value.errors()] == [("event_time",)]


_DAY, _TIME = "(20|19)[0-9]{2}-[01][0-9]-[0-3][0-9]", r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?"


@given(st.from_regex(f"{_DAY}[Tt ]{_TIME}(Z|z|[+-][0-2][0-9]:[0-9]{{2}})", fullmatch=True))
@example("2026-02-29T00:00:00Z")
@example("2024-02-29T23:59:59.9Z")
@example("2026-11-21T24:00:00Z")
@example("2026-11-21T23:59:60Z")
@example("2026-11-21T03:00:00Z\n")
@example("2026-11-2\N{ARABIC-INDIC DIGIT ONE}T03:00:00Z")
def test_fast_validation_accepts_the_same_times_as_pydantic_with_the_same_values(time: str) -> None:
    value = json.dumps(COMPLETE | {"event_time": time}).encode()
    try:
        expected = Event.model_validate_json(value, strict=True)
    except ValidationError:
        with pytest.raises(ValidationError):
            from_json(Event, value, None)
    else:
        event = from_json(Event, value, None)
        assert event == expected
        assert event.model_dump_json() == expected.model_dump_json()

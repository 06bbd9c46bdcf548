import json
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import pytest
from pydantic import ValidationError

from services.contracts.events import Action, Event, EventIn
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
def test_what_is_wrong_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Event.model_validate(COMPLETE | change)


def test_a_client_may_leave_id_and_time_out_but_a_record_may_not() -> None:
    short = {key: COMPLETE[key] for key in ("user_id", "item_id", "action")}
    assert EventIn.model_validate(short).event_id is None
    with pytest.raises(ValidationError):
        Event.model_validate(short)


def test_every_action_but_rate_goes_without_a_value() -> None:
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


def test_the_kept_json_schema_is_the_models() -> None:
    assert SCHEMA_FILE.read_text() == render(), "run: python -m services.contracts.schema"
    assert json.loads(render())["additionalProperties"] is False

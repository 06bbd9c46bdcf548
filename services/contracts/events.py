"""The feedback event: what a client may send, and what travels on the topic ``events``.

`EventIn` is the request body of ``POST /v1/events``; `Event` is the record's value on the topic,
complete and stamped. Both refuse unknown fields. The JSON Schema of `Event` is kept beside this
file in ``event.schema.json``; a test compares them.

This is the only definition of a valid event: everything that reads events from JSON (the API, the consumer, the
replicas) calls `from_json`.
"""

import json
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, LiteralString, TypeVar, cast
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from services.contracts.ids import PROBE_SOURCE, PROBE_USER, ItemIdField, UserIdField

SCHEMA_VERSION = 1
SchemaVersion = Annotated[int, Strict(), Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
MAX_EVENTS_PER_REQUEST = 1_000
EARLIEST_EVENT_TIME = datetime.fromisoformat("1970-01-02T00:00:00+00:00")
"""Earlier times are refused: they come from clients whose clock is not set."""
MAX_CLOCK_AHEAD_SECONDS = 300
"""Events whose time is further ahead of their arrival are refused."""
CLOCK_SKEW_SECONDS = 30
"""How much stricter the API, by its own clock, is than the consumer, by the broker's: an event that the API accepted
must not be refused later because the two clocks differ."""
_MAX_AHEAD = timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
TOO_FAR_AHEAD = f"is more than {MAX_CLOCK_AHEAD_SECONDS} s ahead of the time at which it was taken in"
_TAKEN_AT = "taken_at"
_NOT_A_TIME: LiteralString = "must be a date and a time with a time zone, as ISO 8601 has them"
_THIS_CENTURY = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"
"""The usual form of a time: in UTC, not a number, not before `EARLIEST_EVENT_TIME`."""
_Model = TypeVar("_Model", bound=BaseModel)


def is_too_far_ahead(event_time: datetime, taken_at: datetime) -> bool:
    """Whether an event claims to happen more than `MAX_CLOCK_AHEAD_SECONDS` after it was taken in."""
    return event_time - taken_at > _MAX_AHEAD


def from_json(kind: type[_Model], value: bytes, taken_at: datetime | None) -> _Model:
    """Return what ``value`` holds: an event, or several. Types are strict: neither ``true`` nor ``"1"`` is an id.

    Args:
        kind: `Event`, `EventIn` or a model made of them.
        value: JSON.
        taken_at: when it arrived, by a clock that we trust (on the topic: the record's timestamp). An event's time may
            be at most `MAX_CLOCK_AHEAD_SECONDS` ahead of it. None: the caller checks `is_too_far_ahead` itself.

    Raises:
        pydantic.ValidationError: it is not valid; names each wrong field.
    """
    if kind is Event:
        return cast(_Model, _validate_fast(value, taken_at) or _validate_fully(value, taken_at))
    return kind.model_validate_json(value, strict=True, context={_TAKEN_AT: taken_at})


def _validate_fast(value: bytes, taken_at: datetime | None) -> "Event | None":
    """Return the event, or None if it is invalid or needs `_validate_fully` to tell.

    Takes half the time: pydantic calls no Python validators, whose rules are the conditions below.
    """
    try:
        parsed = _ParsedEvent.__pydantic_validator__.validate_json(value, strict=True)
        event_time = datetime.fromisoformat(parsed.event_time)
    except ValueError:  # a ValidationError, or not a calendar date
        return None
    given = parsed.model_fields_set
    texts = 3 + ("source" in given) + (parsed.request_id is not None)
    if (
        (parsed.action is Action.RATE) is not (parsed.value is None)
        and (parsed.user_id == PROBE_USER) is (parsed.source == PROBE_SOURCE)
        and (taken_at is None or event_time - taken_at <= _MAX_AHEAD)
        # Valid names and texts contain no quotation mark, so this count leaves none for a duplicate field.
        and value.count(b'"') == 2 * (len(given) + texts)
    ):
        parsed.__dict__["event_time"] = event_time
        object.__setattr__(parsed, "__class__", Event)  # the same fields, and now the same rules
        return cast(Event, parsed)
    return None


def _validate_fully(value: bytes, taken_at: datetime | None) -> "Event":
    """Return the event, or raise the ValidationError that names every wrong field.

    Pydantic's parser accepts duplicate fields, and seconds since 1970 as text; this function refuses both.
    """
    event = Event.model_validate_json(value, strict=True, context={_TAKEN_AT: taken_at})
    fields: list[tuple[str, Any]] = json.loads(value, object_pairs_hook=list)
    names = [name for name, _ in fields]
    for name, given in fields:
        if names.count(name) > 1:
            raise _refusal(name, "is given twice")
        if name == "event_time" and given[4:5] != "-":
            raise _refusal(name, _NOT_A_TIME)
    return event


def _refusal(field: str, why: LiteralString) -> ValidationError:
    error = InitErrorDetails(type=PydanticCustomError("refused", why), loc=(field,), input=None)
    return ValidationError.from_exception_data("Event", [error])


def plausible_time(time: datetime, info: ValidationInfo) -> datetime:
    """Return ``time``; a pydantic validator of any model that `from_json` reads.

    Raises:
        ValueError: it is before `EARLIEST_EVENT_TIME`, or too far ahead of ``taken_at``.
    """
    if time < EARLIEST_EVENT_TIME:
        raise ValueError("is too early to be a time")
    taken_at = info.context.get(_TAKEN_AT) if info.context else None
    if taken_at is not None and is_too_far_ahead(time, taken_at):
        raise ValueError(TOO_FAR_AHEAD)
    return time


class Action(StrEnum):
    """What the viewer did with the film."""

    LIKE = "like"
    UNLIKE = "unlike"
    DISLIKE = "dislike"
    UNDISLIKE = "undislike"
    RATE = "rate"
    UNRATE = "unrate"
    WATCH = "watch"
    UNWATCH = "unwatch"


RatingValue = Annotated[
    float, Strict(), Field(ge=0.5, le=5.0, description="Stars, required with the action `rate` and refused otherwise.")
]
RequestId = Annotated[
    UUID, Field(description="The `request_id` of the list that showed the film: used for the click-through rate.")
]
Source = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="The sending application.")
]


class _Fields(BaseModel):
    """What all events have, without the rules between fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: Annotated[UserIdField, Strict()]
    item_id: Annotated[ItemIdField, Strict()]
    action: Action
    value: RatingValue | None = Field(default=None, validate_default=True)
    request_id: RequestId | None = None
    source: Source = Field(default="api", validate_default=True)


class _EventFields(_Fields):
    @field_validator("value")
    @classmethod
    def _value_goes_with_rate(cls, value: float | None, info: ValidationInfo) -> float | None:
        action = info.data.get("action")  # missing if it is invalid itself
        if action is Action.RATE and value is None:
            raise ValueError("value is required with the action 'rate'")
        if action not in (Action.RATE, None) and value is not None:
            raise ValueError(f"value is only allowed with the action 'rate', not with '{action}'")
        return value

    @field_validator("source")
    @classmethod
    def _probe_is_reserved(cls, source: str, info: ValidationInfo) -> str:
        user_id = info.data.get("user_id")  # missing if it is invalid itself
        if user_id is not None and (user_id == PROBE_USER) != (source == PROBE_SOURCE):
            raise ValueError(f"viewer {PROBE_USER} and the source '{PROBE_SOURCE}' are reserved for the probe")
        return source

    @field_validator("event_time", check_fields=False)
    @classmethod
    def _time_is_plausible(cls, time: datetime | None, info: ValidationInfo) -> datetime | None:
        return None if time is None else plausible_time(time, info)


class EventIn(_EventFields):
    """One event as a client sends it; id and time are stamped when they are left out."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"user_id": 42, "item_id": 50, "action": "like", "source": "demo"}]},
    )

    event_id: UUID | None = Field(
        default=None,
        description="Chosen by a client that may send the event twice: the same id counts once."
        " Such a client sends `event_time` too, so that a late copy does not overtake what the viewer did next.",
    )
    event_time: AwareDatetime | None = Field(
        default=None,
        description="When it happened, with a time zone; kept as it is, so that a late or repeated event never"
        " overtakes a newer one. At most four and a half minutes ahead of the service's clock. Left out, it is the"
        " service's own time, after everything that the viewer did before.",
    )

    @field_validator("event_time", mode="before")
    @classmethod
    def _time_is_not_a_number(cls, time: Any) -> Any:
        """Refuse seconds since 1970 as text, which pydantic accepts; for `Event`, `from_json` does so at less cost."""
        if not isinstance(time, str):
            return time
        try:
            return datetime.fromisoformat(time.upper() if time[4:5] == "-" else "")
        except ValueError as error:
            raise ValueError(_NOT_A_TIME) from error


class Event(_EventFields):
    """One event as it travels on the topic: complete, stamped, in UTC with microseconds."""

    event_id: UUID
    event_time: AwareDatetime
    schema_version: SchemaVersion = SCHEMA_VERSION


class _ParsedEvent(_Fields):
    """An `Event` without the rules between fields, which `_validate_fast` checks.

    The time is text here: subtracting times that Python parsed is several times as fast as subtracting pydantic's.
    """

    event_id: UUID
    event_time: Annotated[str, Field(pattern=_THIS_CENTURY)]
    schema_version: SchemaVersion = SCHEMA_VERSION

"""The feedback event: what a client may send, and what travels on the topic ``events``.

`EventIn` is the request body of ``POST /v1/events``; `Event` is the record's value on the topic,
complete and stamped. Both refuse unknown fields. The JSON Schema of `Event` is kept beside this
file in ``event.schema.json``; a test compares them.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from services.contracts.ids import ItemIdField, UserIdField

SCHEMA_VERSION: Literal[1] = 1
MAX_EVENTS_PER_REQUEST = 1_000
EARLIEST_EVENT_TIME = datetime.fromisoformat("1970-01-02T00:00:00+00:00")
"""Older times are refused: a zero clock is a client's mistake, not a time."""
MAX_CLOCK_AHEAD_SECONDS = 300
"""A client clock further ahead of the service than this is refused."""


class Action(StrEnum):
    """What the viewer did with the film."""

    LIKE = "like"
    UNLIKE = "unlike"
    DISLIKE = "dislike"
    UNDISLIKE = "undislike"
    RATE = "rate"
    WATCH = "watch"


RatingValue = Annotated[
    float, Field(ge=0.5, le=5.0, description="Stars, required with the action `rate` and refused otherwise.")
]
RequestId = Annotated[
    UUID, Field(description="The `request_id` of the list that showed the film: it makes the click-through rate.")
]
Source = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="The sending application.")
]


class _EventFields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: UserIdField
    item_id: ItemIdField
    action: Action
    value: RatingValue | None = Field(default=None, validate_default=True)
    request_id: RequestId | None = None
    source: Source = "api"

    @field_validator("value")
    @classmethod
    def _value_goes_with_rate(cls, value: float | None, info: ValidationInfo) -> float | None:
        action = info.data.get("action")  # missing when it is wrong itself
        if action is Action.RATE and value is None:
            raise ValueError("value is required with the action 'rate'")
        if action not in (Action.RATE, None) and value is not None:
            raise ValueError(f"value is only allowed with the action 'rate', not with '{action}'")
        return value


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
        default=None, description="With a time zone; at most five minutes ahead of the service's clock."
    )


class Event(_EventFields):
    """One event as it travels on the topic: complete, stamped, in UTC with microseconds."""

    event_id: UUID
    event_time: AwareDatetime
    schema_version: Literal[1] = SCHEMA_VERSION

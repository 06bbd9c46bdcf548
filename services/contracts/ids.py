"""Named id types, so that a user id cannot be passed where an item id belongs."""

from typing import Annotated, NewType

from pydantic import Field

UserId = NewType("UserId", int)
ItemId = NewType("ItemId", int)

MAX_ID = 2**53 - 2
"""The greatest id of a viewer or a film. Every JSON parser reads integers up to one more exactly."""

PROBE_USER = UserId(MAX_ID + 1)
"""The viewer in whose name `services.probe` likes films all the time; training and statistics leave it out."""
PROBE_SOURCE = "probe"
"""The `source` of its events, and of no others."""

UserIdField = Annotated[
    UserId, Field(ge=1, le=PROBE_USER, description=f"The viewer's id; {PROBE_USER} is the probe's.", examples=[42])
]
ItemIdField = Annotated[ItemId, Field(ge=1, le=MAX_ID, description="The film's id.", examples=[50])]

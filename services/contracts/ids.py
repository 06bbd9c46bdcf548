"""Named id types, so that a user id cannot be passed where an item id belongs."""

import random
from typing import Annotated, NewType
from uuid import UUID

from pydantic import Field

UserId = NewType("UserId", int)
ItemId = NewType("ItemId", int)

MAX_ID = 2**53 - 2
"""The largest id of a viewer or a film: 2^53 − 2. Every JSON parser reads integers up to one more exactly."""

PROBE_USER = UserId(MAX_ID + 1)
"""The viewer id that `services.probe` uses for its likes; training and statistics leave it out."""
PROBE_SOURCE = "probe"
"""The `source` of the probe's events; refused from everyone else."""

_random = random.Random()  # noqa: S311 its own, seeded by the system: nobody else's seed repeats our ids


def request_uuid() -> UUID:
    """Return a random id for a request or a list: unique, but not secret.

    `uuid.uuid4` asks the system for each, and lets other threads run meanwhile: 20 µs on a busy replica.
    """
    return UUID(int=_random.getrandbits(128), version=4)


UserIdField = Annotated[
    UserId, Field(ge=1, le=PROBE_USER, description=f"The viewer's id; {PROBE_USER} is the probe's.", examples=[42])
]
ItemIdField = Annotated[ItemId, Field(ge=1, le=MAX_ID, description="The film's id.", examples=[50])]

"""Named id types, so that a user id cannot be passed where an item id belongs."""

from typing import Annotated, NewType

from pydantic import Field

UserId = NewType("UserId", int)
ItemId = NewType("ItemId", int)

MAX_ID = 2**63 - 1
"""Ids fit ClickHouse ``Int64``, PostgreSQL ``bigint`` and a JSON integer."""

PROBE_USER = UserId(2**53 - 1)
"""The viewer in whose name `services.probe` likes films all the time: nobody, so training and statistics leave it out.

The greatest integer that every JSON parser reads exactly, and far above any data set's ids.
"""
PROBE_SOURCE = "probe"
"""The `source` of its events."""

UserIdField = Annotated[UserId, Field(ge=1, le=MAX_ID, description="The viewer's id.", examples=[42])]
ItemIdField = Annotated[ItemId, Field(ge=1, le=MAX_ID, description="The film's id.", examples=[50])]

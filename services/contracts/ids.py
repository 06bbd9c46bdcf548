"""Named id types, so that a user id cannot be passed where an item id belongs."""

from typing import Annotated, NewType

from pydantic import Field

UserId = NewType("UserId", int)
ItemId = NewType("ItemId", int)

MAX_ID = 2**63 - 1
"""Ids fit ClickHouse ``Int64``, PostgreSQL ``bigint`` and a JSON integer."""

UserIdField = Annotated[UserId, Field(ge=1, le=MAX_ID, description="The viewer's id.", examples=[42])]
ItemIdField = Annotated[ItemId, Field(ge=1, le=MAX_ID, description="The film's id.", examples=[50])]

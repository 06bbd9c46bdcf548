"""The impression: one list of films that was served to a viewer."""

from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.contracts.ids import ItemIdField, UserIdField


class Impression(BaseModel):
    """One served list, as it travels on the topic ``impressions``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_id: UUID
    user_id: UserIdField
    item_ids: list[ItemIdField] = Field(description="In the order shown, best first.")
    strategy: str
    variant: str
    model_version: str
    served_at: AwareDatetime
    schema_version: Literal[1] = 1

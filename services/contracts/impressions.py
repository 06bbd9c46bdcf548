"""The impression: one list of films that was served to a viewer."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from services.contracts.events import SCHEMA_VERSION, SchemaVersion, plausible_time
from services.contracts.ids import ItemIdField, UserIdField

Label = Annotated[str, Field(max_length=200)]
"""Names with few distinct values: they become metric labels."""


class Impression(BaseModel):
    """One served list, as it travels on the topic ``impressions``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request_id: UUID
    user_id: UserIdField
    item_ids: list[ItemIdField] = Field(description="In the order shown, best first.")
    strategy: Label
    variant: Label
    model_version: Label
    served_at: AwareDatetime
    schema_version: SchemaVersion = SCHEMA_VERSION

    @field_validator("served_at")
    @classmethod
    def _time_is_plausible(cls, time: datetime, info: ValidationInfo) -> datetime:
        return plausible_time(time, info)

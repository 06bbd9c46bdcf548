"""The page's settings, read from the environment by `app`."""

from pydantic import AnyHttpUrl, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.rest import MAX_K


class UiSettings(BaseSettings):
    """Environment variables of the same names in upper case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    inference_url: AnyHttpUrl = Field(description="Base address of the inference service.")
    ui_list_size: int = Field(default=24, ge=1, le=MAX_K, description="Films per list.")
    ui_timeout_seconds: float = Field(default=10, gt=0, le=120, description="How long to wait for an answer.")

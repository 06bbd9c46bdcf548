"""The page's settings, read from the environment by `app`."""

from pydantic import AnyHttpUrl, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.origin_guard import checked_host_names, host_names
from services.contracts.rest import MAX_K


class HostSettings(BaseSettings):
    """The demo's host names; read on its own, so that other invalid settings do not matter."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    allowed_hosts: str = Field(default="", description="Host names accepted in the header Host, comma-separated.")

    @property
    def host_names(self) -> frozenset[str]:
        """The configured names, in lower case."""
        return host_names(self.allowed_hosts)


class UiSettings(HostSettings):
    """Environment variables of the same names in upper case."""

    _allowed_hosts_are_names = field_validator("allowed_hosts")(checked_host_names)

    inference_url: AnyHttpUrl = Field(description="Base address of the inference service.")
    ui_list_size: int = Field(default=24, ge=1, le=MAX_K, description="Films per list.")
    ui_timeout_seconds: float = Field(default=10, gt=0, le=120, description="How long to wait for an answer.")
    metrics_host: str = Field(default="127.0.0.1", description="The address of /metrics; 0.0.0.0: all.")
    ui_metrics_port: int = Field(default=9105, ge=0, le=65535, description="The port of /metrics; 0: off.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

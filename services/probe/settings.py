"""The probe's settings."""

from pydantic import Field, TypeAdapter, field_validator
from pydantic.networks import AnyHttpUrl

from services.common.settings import LogSettings, MetricsSettings

_URLS = TypeAdapter(list[AnyHttpUrl])


class ProbeSettings(MetricsSettings, LogSettings):
    """Environment variables of ``python -m services.probe``."""

    inference_url: str = Field(description="Addresses of the API, comma-separated; the first one gets the likes.")
    probe_port: int = Field(default=9103, ge=0, le=65535, description="/metrics and /health; 0: any free port.")
    probe_interval_seconds: float = Field(default=15, gt=0, description="From the start of one round to the next.")
    probe_timeout_seconds: float = Field(
        default=10, gt=0, description="Time limit for a list to reflect a like, and for an answer of the API."
    )
    probe_grace_seconds: float = Field(
        default=300,
        ge=0,
        description="Failures before the first success count only after so long: a new installation has no model yet.",
    )

    @field_validator("inference_url")
    @classmethod
    def _is_one_address_or_several(cls, value: str) -> str:
        _URLS.validate_python(_split(value))
        return value

    @property
    def inference_urls(self) -> list[str]:
        """The addresses, at least one."""
        return _split(self.inference_url)


def _split(urls: str) -> list[str]:
    return [url.strip() for url in urls.split(",")]

"""The service's settings."""

from pathlib import Path

from pydantic import Field, SecretStr

from services.common.settings import (
    ClickHouseSettings,
    HostSettings,
    KafkaSettings,
    LogSettings,
    ModelSettings,
    PostgresSettings,
)


class InferenceSettings(KafkaSettings, ClickHouseSettings, PostgresSettings, ModelSettings, HostSettings, LogSettings):
    """What one replica needs; read from the environment by `__main__`."""

    inference_host: str = Field(default="127.0.0.1", description="The address to listen on.")
    inference_port: int = Field(default=8000, ge=1, le=65535, description="The port to listen on.")
    admin_api_key: SecretStr = Field(min_length=16, description="The key for the admin routes; at least 16 characters.")
    publish_timeout_seconds: float = Field(default=5.0, gt=0, description="How long POST /v1/events waits for Kafka.")
    replica_state_dir: Path | None = Field(
        default=None,
        description="Files with which a replica starts without PostgreSQL; by default a folder in MODEL_DIR.",
    )

    @property
    def local_state_dir(self) -> Path:
        """The folder of `services.inference.local_state`."""
        return self.replica_state_dir or self.model_dir / "replica-state"

    @property
    def host_names(self) -> frozenset[str]:
        """The configured names, and the listening address unless it is 0.0.0.0."""
        return super().host_names | ({self.inference_host} - {"0.0.0.0", "::"})  # noqa: S104

"""Settings that services share: small, typed, read from the environment when `main` asks for them.

Each service composes its own settings class from these mixins; a secret has no working default.
"""

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.contracts.origin_guard import checked_host_names, host_names


class SettingsError(SystemExit):
    """A setting is missing or wrong. Ends the process with one line that names each such variable."""


class Settings(BaseSettings):
    """Base of all settings: environment variables named as the fields, in upper case."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: a variable is missing or not valid; its message names all of them.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in e['loc']).upper()}: {e['msg']}" for e in error.errors()
            )
            raise SettingsError(f"settings: {problems}") from error


class KafkaSettings(Settings):
    """Where Kafka is."""

    kafka_bootstrap_servers: str = Field(description="host:port, comma-separated.")


class ClickHouseSettings(Settings):
    """Where ClickHouse is."""

    clickhouse_url: SecretStr = Field(description="http(s)://user:password@host:port/database.")


class PostgresSettings(Settings):
    """Where PostgreSQL is."""

    postgres_dsn: SecretStr = Field(description="postgresql://user:password@host:port/database.")


class ModelSettings(Settings):
    """Where the model bundles are."""

    model_dir: Path = Field(description="A directory that trainer and inference share; one folder per version.")


class LogSettings(Settings):
    """How to log."""

    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")


class HostSettings(Settings):
    """The host names that a process answers to over HTTP."""

    allowed_hosts: str = Field(
        default="",
        description="Host names accepted in the header Host, comma-separated; loopback and the own address always are.",
    )

    _allowed_hosts_are_names = field_validator("allowed_hosts")(checked_host_names)

    @property
    def host_names(self) -> frozenset[str]:
        """The configured names, in lower case."""
        return host_names(self.allowed_hosts)


class MetricsSettings(HostSettings):
    """Where a process without an API serves its metrics."""

    metrics_host: str = Field(default="127.0.0.1", description="The address of /metrics and /health; 0.0.0.0: all.")

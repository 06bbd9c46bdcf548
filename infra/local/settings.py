"""The local stack's settings: ports, secrets and addresses, from the environment and `.env`."""

from pathlib import Path
from typing import Self
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.local.postgres.role_passwords import password_of

ROOT = Path(__file__).resolve().parents[2]


class StackSettings(BaseSettings):
    """Each field is the environment variable of the same name in upper case; `.env` fills in what is not set.

    A service given by address (`kafka_bootstrap_servers`, `clickhouse_url`, `postgres_dsn`) is used as it is and
    not started; left empty, it is the stack's own on 127.0.0.1.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    root: Path = ROOT
    local_dir: Path = Path(".local")
    airflow_venv: Path = Path(".venv-airflow")

    kafka_port: int = Field(9092, ge=1, le=65535)
    kafka_controller_port: int = Field(9093, ge=1, le=65535)
    clickhouse_port: int = Field(8123, ge=1, le=65535)
    postgres_port: int = Field(5432, ge=1, le=65535)
    inference_port: int = Field(8000, ge=1, le=65535)
    consumer_metrics_port: int = Field(9101, ge=1, le=65535)
    exporter_port: int = Field(9102, ge=1, le=65535)
    probe_port: int = Field(9103, ge=1, le=65535)
    ui_port: int = Field(8501, ge=1, le=65535)
    ui_metrics_port: int = Field(9105, ge=1, le=65535)
    prometheus_port: int = Field(9090, ge=1, le=65535)
    statsd_port: int = Field(9125, ge=1, le=65535)
    statsd_exporter_port: int = Field(9104, ge=1, le=65535)
    airflow_port: int = Field(8080, ge=1, le=65535)

    prometheus_interval_seconds: int = Field(5, ge=1)

    postgres_password: SecretStr
    clickhouse_password: SecretStr
    clickhouse_reader_password: SecretStr
    admin_api_key: SecretStr
    airflow_admin_password: SecretStr

    kafka_bootstrap_servers: str = ""
    clickhouse_url: SecretStr = SecretStr("")
    postgres_dsn: SecretStr = SecretStr("")

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        seen: dict[int, str] = {}
        for name, value in self:
            if name.endswith("_port"):
                if value in seen:
                    raise ValueError(f"{name.upper()} and {seen[value].upper()} are both {value}")
                seen[value] = name
        return self

    @classmethod
    def load(cls, root: Path = ROOT) -> Self:
        """Read the environment and `root`/.env. Raises pydantic.ValidationError naming each wrong setting."""
        return cls(root=root, _env_file=root / ".env")

    @property
    def state(self) -> Path:
        """Where everything that the stack writes lives, as an absolute path."""
        return (self.root / self.local_dir).resolve()

    @property
    def airflow_bin(self) -> Path:
        """The programs of Airflow's own virtual environment."""
        return (self.root / self.airflow_venv).absolute() / "bin"

    @property
    def own_kafka(self) -> str:
        """The address of the stack's own broker."""
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def own_clickhouse(self) -> str:
        """The URL of the stack's own ClickHouse, for who writes, with its password."""
        return self._clickhouse("movierecs", self.clickhouse_password)

    @property
    def own_postgres(self) -> str:
        """The DSN of the stack's own PostgreSQL, with its password."""
        return self._postgres("movierecs", self.postgres_password.get_secret_value())

    @property
    def kafka(self) -> str:
        """The brokers that every service uses."""
        return self.kafka_bootstrap_servers or self.own_kafka

    @property
    def clickhouse(self) -> str:
        """The ClickHouse of every service that writes."""
        return self.clickhouse_url.get_secret_value() or self.own_clickhouse

    @property
    def clickhouse_reader(self) -> str:
        """The ClickHouse of who only reads: the stack's own with a user who may do no more."""
        return self.clickhouse_url.get_secret_value() or self._clickhouse("reader", self.clickhouse_reader_password)

    @property
    def postgres(self) -> str:
        """The PostgreSQL of migrations and of people: with all rights in the stack's own."""
        return self.postgres_dsn.get_secret_value() or self.own_postgres

    def postgres_of(self, role: str) -> str:
        """The PostgreSQL of a program, in the stack's own as the role (one of `services.common.postgres_roles`)."""
        password = password_of(role, self.postgres_password.get_secret_value())
        return self.postgres_dsn.get_secret_value() or self._postgres(role, password)

    def _postgres(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{self.postgres_port}/movierecs"

    def _clickhouse(self, user: str, password: SecretStr) -> str:
        quoted = quote(password.get_secret_value(), safe="")
        return f"http://{user}:{quoted}@127.0.0.1:{self.clickhouse_port}/default"

    @property
    def external(self) -> dict[str, str]:
        """The addresses of programs that run elsewhere, by program. An address that happens to be the stack's own
        (from a shell that loaded `python -m infra.local env`) is not elsewhere."""
        pairs = {
            "kafka": (self.kafka, self.own_kafka),
            "clickhouse": (self.clickhouse, self.own_clickhouse),
            "postgres": (self.postgres, self.own_postgres),
        }
        return {name: used for name, (used, own) in pairs.items() if used != own}

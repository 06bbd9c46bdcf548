"""Who gets which secret: each program of the stack those that its settings declare, and no other."""

from functools import cache

from infra.local.env_file import generated_names
from infra.local.settings import ROOT, StackSettings


@cache
def secret_names() -> frozenset[str]:
    """Every variable that holds a secret: what `.env.example` has generated, and the addresses with a password."""
    return generated_names(ROOT / ".env.example") | {"CLICKHOUSE_URL", "POSTGRES_DSN"}


def secrets_of(settings: StackSettings) -> dict[str, dict[str, str]]:
    """The secrets of each program that has any, by program and variable."""
    return {
        "clickhouse": {
            "CLICKHOUSE_PASSWORD": settings.clickhouse_password.get_secret_value(),
            "CLICKHOUSE_READER_PASSWORD": settings.clickhouse_reader_password.get_secret_value(),
        },
        "postgres": {"POSTGRES_PASSWORD": settings.postgres_password.get_secret_value()},
        # It erases in ClickHouse.
        "inference": {
            "CLICKHOUSE_URL": settings.clickhouse,
            "POSTGRES_DSN": settings.postgres_of("inference"),
            "ADMIN_API_KEY": settings.admin_api_key.get_secret_value(),
        },
        "consumer": {"CLICKHOUSE_URL": settings.clickhouse},
        "exporter": {"CLICKHOUSE_URL": settings.clickhouse_reader, "POSTGRES_DSN": settings.postgres_of("exporter")},
        # The trainer runs in it.
        "airflow": {"CLICKHOUSE_URL": settings.clickhouse, "POSTGRES_DSN": settings.postgres_of("trainer")},
    }

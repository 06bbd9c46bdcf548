"""Applies the numbered SQL files of ``infra/*/migrations``; safe to run again and from two processes.

A file ``0003_signals.sql`` is applied once, in order of its number, and never changes afterwards: its
checksum is recorded and compared. ``python -m services.common.migrations`` waits for both databases and migrates them;
then it creates PostgreSQL's roles for those services whose passwords it is given.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from psycopg import Connection
from pydantic import Field, SecretStr

from services.common import clickhouse, postgres, postgres_roles
from services.common.settings import ClickHouseSettings, LogSettings, PostgresSettings
from services.common.telemetry import configure_logging

INFRA = Path(__file__).parents[2] / "infra"
CLICKHOUSE_MIGRATIONS = INFRA / "clickhouse" / "migrations"
POSTGRES_MIGRATIONS = INFRA / "postgres" / "migrations"
_ADVISORY_LOCK = 5_027_331_846

log = logging.getLogger(__name__)


class MigrationError(Exception):
    """A migration cannot be applied, or an applied one has changed."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


class Settings(ClickHouseSettings, PostgresSettings, LogSettings):
    """Where the databases are, and the passwords of the roles to create."""

    inference_postgres_password: SecretStr | None = Field(default=None)
    trainer_postgres_password: SecretStr | None = Field(default=None)
    exporter_postgres_password: SecretStr | None = Field(default=None)

    @property
    def role_passwords(self) -> dict[str, str]:
        """The passwords given, by role."""
        given = {
            "inference": self.inference_postgres_password,
            "trainer": self.trainer_postgres_password,
            "exporter": self.exporter_postgres_password,
        }
        return {role: password.get_secret_value() for role, password in given.items() if password}


def read_migrations(directory: Path) -> list[Migration]:
    """Return the directory's migrations in order.

    Raises:
        MigrationError: a file's name has no number, or two share one.
    """
    found: dict[int, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        head = path.stem.split("_", 1)[0]
        if not head.isdigit():
            raise MigrationError(f"{path.name}: the name must start with a number, as in 0001_events.sql")
        if int(head) in found:
            raise MigrationError(f"{path.name}: the number {head} is taken by {found[int(head)].name}")
        found[int(head)] = Migration(int(head), path.stem, path.read_text())
    return [found[number] for number in sorted(found)]


def pending(migrations: list[Migration], applied: dict[int, str]) -> list[Migration]:
    """Return those not applied yet.

    Raises:
        MigrationError: the text of an applied one has changed since.
    """
    for migration in migrations:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise MigrationError(f"{migration.name} was changed after it was applied; add a new file instead")
    return [m for m in migrations if m.number not in applied]


def split_statements(sql: str) -> list[str]:
    """Split a file at the semicolons that end a line; ClickHouse takes one statement per request.

    >>> split_statements("-- a\\nSELECT 1;\\n\\nSELECT ';';\\n")
    ['-- a\\nSELECT 1', "SELECT ';'"]
    """
    parts = [part.strip() for part in (sql.rstrip() + "\n").split(";\n")]
    return [part for part in parts if part and not all(line.startswith("--") for line in part.splitlines())]


def migrate_postgres(connection: Connection, migrations: list[Migration]) -> list[str]:
    """Apply what is pending, each file in one transaction; return the names applied."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (number int PRIMARY KEY, name text NOT NULL,"
            " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        applied: dict[int, str] = dict(connection.execute("SELECT number, checksum FROM schema_migrations").fetchall())
        todo = pending(migrations, applied)
        for migration in todo:
            connection.execute(migration.sql.encode())
            connection.execute(
                "INSERT INTO schema_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    return [m.name for m in todo]


def ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Create or update the services' roles that `passwords` names, all in one transaction."""
    info = connection.info
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_LOCK,))
        for statement in postgres_roles.statements(passwords, owner=info.user, database=info.dbname):
            connection.execute(statement.encode())


def migrate_clickhouse(client: Client, migrations: list[Migration]) -> list[str]:
    """Apply what is pending; return the names applied.

    ClickHouse has no transactions over DDL: every statement of a file is written to be safe to run
    again (``IF NOT EXISTS``, ``CREATE OR REPLACE``), and the file is recorded after its last one.
    """
    client.command(
        "CREATE TABLE IF NOT EXISTS schema_migrations (number UInt32, name String, checksum String,"
        " applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = ReplacingMergeTree ORDER BY number"
    )
    rows = client.query("SELECT number, checksum FROM schema_migrations FINAL").result_rows
    todo = pending(migrations, {int(number): str(checksum) for number, checksum in rows})
    for migration in todo:
        for statement in split_statements(migration.sql):
            client.command(statement)
        client.insert(
            "schema_migrations",
            [[migration.number, migration.name, migration.checksum]],
            column_names=["number", "name", "checksum"],
        )
    return [m.name for m in todo]


def main() -> None:
    """Wait for PostgreSQL and ClickHouse, then migrate both."""
    settings = Settings.from_environment()
    configure_logging("migrations", settings.log_level)
    with postgres.connect_when_up(settings.postgres_dsn, None) as connection:
        done = migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        log.info("PostgreSQL is migrated", extra={"applied": done})
        ensure_roles(connection, settings.role_passwords)
        log.info("PostgreSQL's roles are set up", extra={"roles": sorted(settings.role_passwords)})
    client = clickhouse.connect_when_up(settings.clickhouse_url, None)
    done = migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
    log.info("ClickHouse is migrated", extra={"applied": done})


if __name__ == "__main__":
    main()

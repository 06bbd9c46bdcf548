"""The roles that the services use: none is a superuser or may change the schema, each has a password of its own.

Migrations and people use the tables' owner. PostgreSQL's own `pg_read_all_data` would do for readers, but it includes
`pg_shadow`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Role:
    """The privileges of a service on every table, and its session settings."""

    rows: str
    settings: dict[str, str] = field(default_factory=dict)


_TIMEOUTS = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
_WRITES = "SELECT, INSERT, UPDATE, DELETE"
ROLES = {
    "inference": Role(_WRITES, _TIMEOUTS),
    "exporter": Role("SELECT", {**_TIMEOUTS, "default_transaction_read_only": "on"}),
    # No time limits: loading and training may take long.
    "trainer": Role(_WRITES),
}


def statements(passwords: Mapping[str, str], owner: str, database: str) -> list[str]:
    """Return SQL for `database` that creates or updates the roles that `passwords` names.

    The privileges also cover tables that `owner` creates in later migrations."""
    made = []
    later = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(owner)} IN SCHEMA public"
    for name, password in passwords.items():
        role = ROLES[name]
        exists = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {name}; END IF;"
        made += [
            f"DO $$ BEGIN {exists} END $$",
            f"ALTER ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            f" PASSWORD {literal(password)}",
            # Needed where CONNECT was revoked from PUBLIC (infra/postgres/init/airflow.sh).
            f"GRANT CONNECT ON DATABASE {identifier(database)} TO {name}",
            f"GRANT {role.rows} ON ALL TABLES IN SCHEMA public TO {name}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}",
            f"{later} GRANT {role.rows} ON TABLES TO {name}",
            f"{later} GRANT USAGE ON SEQUENCES TO {name}",
            *(f"ALTER ROLE {name} SET {setting} = '{value}'" for setting, value in role.settings.items()),
        ]
    return made


def literal(text: str) -> str:
    """Return `text` as an SQL string literal, whatever `standard_conforming_strings` says."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'

"""The roles that the services use: none is a superuser or may change the schema, each has a password of its own.

The role `movierecs` stays the migrations' and a person's. Not PostgreSQL's own `pg_read_all_data`: who has it reads
`pg_shadow`, too.
"""

import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Role:
    """What a program may do to the rows of every table, and the settings of its sessions."""

    rows: str
    settings: dict[str, str] = field(default_factory=dict)


_PATIENCE = {"statement_timeout": "10s", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"}
_WRITES = "SELECT, INSERT, UPDATE, DELETE"
ROLES = {
    "inference": Role(_WRITES, _PATIENCE),
    "exporter": Role("SELECT", {**_PATIENCE, "default_transaction_read_only": "on"}),
    # No time limits: loading and training take as long as they take.
    "trainer": Role(_WRITES),
}


def password_of(role: str, secret: str) -> str:
    """The password of `role`, which follows from `secret`, that of `movierecs`, and does not lead back to it."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


def statements(secret: str, owner: str) -> list[str]:
    """SQL for the database whose tables `owner` makes: it makes the roles, or gives those that are there their
    password, rights and settings again. The rights hold for tables of later migrations, too."""
    made = []
    later = f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public"
    for name, role in ROLES.items():
        exists = f"IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN CREATE ROLE {name}; END IF;"
        made += [
            f"DO $$ BEGIN {exists} END $$",
            f"ALTER ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            f" PASSWORD '{password_of(name, secret)}'",
            f"GRANT {role.rows} ON ALL TABLES IN SCHEMA public TO {name}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}",
            f"{later} GRANT {role.rows} ON TABLES TO {name}",
            f"{later} GRANT USAGE ON SEQUENCES TO {name}",
            *(f"ALTER ROLE {name} SET {setting} = '{value}'" for setting, value in role.settings.items()),
        ]
    return made

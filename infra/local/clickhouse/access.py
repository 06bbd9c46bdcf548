"""Who may do what in the local ClickHouse: two accounts, their grants, and the settings that nobody may change.

The engine enforces it. Nothing grants SOURCES, dictionaries, functions, backups or SYSTEM beyond merges, so `file()`,
`url()`, `remote()`, `CREATE TABLE … ENGINE = URL(…)`, `SYSTEM SHUTDOWN` and their like are refused with code 497 in
whatever statement, view or subquery they stand.
"""

import hashlib
from collections.abc import Iterable
from xml.sax.saxutils import escape

OWNER = "movierecs"
READER = "reader"

TABLE_ENGINES = (
    "Atomic", "MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "Memory", "Null", "View",
    "MaterializedView",
)  # fmt: skip
GRANTS = {
    OWNER: (
        "GRANT SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP DATABASE, DROP TABLE, DROP VIEW,"
        " TRUNCATE, OPTIMIZE, SHOW, CHECK, SYSTEM MERGES ON *.*",
        *(f"GRANT TABLE ENGINE ON {engine}" for engine in TABLE_ENGINES),
    ),
    READER: ("GRANT SELECT ON default.*",),
}
"""What each account may do. Compose's `users.xml` says the same of its own."""

UNCHANGEABLE = (
    "format_schema", "format_schema_source", "format_template_row", "format_template_resultset",
    "output_format_schema", "format_avro_schema_registry_url", "merge_tree_disk", "merge_tree_storage_policy",
)  # fmt: skip
"""Settings that name files, disks or addresses."""

SERVER_RULES = """<access_control_improvements>
        <table_engines_require_grant>true</table_engines_require_grant>
        <select_from_system_db_requires_grant>true</select_from_system_db_requires_grant>
        <select_from_information_schema_requires_grant>true</select_from_information_schema_requires_grant>
    </access_control_improvements>"""
"""For a server's configuration; the engine inside this process heeds none of them."""

PROFILES = f"""<profiles>
        <default><constraints>{"".join(f"<{name}><const/></{name}>" for name in UNCHANGEABLE)}</constraints></default>
        <{READER}><profile>default</profile><readonly>2</readonly></{READER}>
    </profiles>
    <quotas><default/></quotas>"""


def engine_users() -> str:
    """The users of the engine inside this process: one, who takes on the role of the account for each query."""
    roles = "".join(f"<{name}>{_grants(grants)}</{name}>" for name, grants in GRANTS.items())
    return f"""<clickhouse>
    {PROFILES}
    <roles>{roles}</roles>
    <users>
        <default>
            <no_password/>
            <profile>default</profile>
            <quota>default</quota>
            {_grants([f"GRANT {', '.join(GRANTS)}"])}
        </default>
    </users>
</clickhouse>
"""


def server_user(name: str, role: str, password: str) -> str:
    """One account of a real server, with its password as SHA-256."""
    digest = hashlib.sha256(password.encode()).hexdigest()
    return f"""<{escape(name)}>
            <password_sha256_hex>{digest}</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>{READER if role == READER else "default"}</profile>
            <quota>default</quota>
            {_grants(GRANTS[role])}
        </{escape(name)}>"""


def _grants(statements: Iterable[str]) -> str:
    return f"<grants>{''.join(f'<query>{statement}</query>' for statement in statements)}</grants>"

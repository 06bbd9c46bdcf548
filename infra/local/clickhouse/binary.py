"""A real ClickHouse server, where there is one: the same address, account and memory bound, by its own config."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from infra.local.clickhouse import access
from infra.local.clickhouse.protocol import Account


def find(environment: Mapping[str, str]) -> str | None:
    """The ``clickhouse`` program: ``CLICKHOUSE_BINARY`` (empty: none), or else the one on PATH."""
    named = environment.get("CLICKHOUSE_BINARY")
    return shutil.which("clickhouse") if named is None else shutil.which(named) if named else None


def write_config(directory: Path, host: str, port: int, accounts: Sequence[Account], max_memory: int) -> Path:
    """Write the server's configuration into ``directory`` (made if missing) and return the file.

    Only HTTP is served. The passwords stand in it as their SHA-256, and the file is its owner's alone to read.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "config.xml"
    config.touch(mode=0o600)
    config.write_text(_config(directory.resolve(), host, port, accounts, max_memory))
    return config


def replace_process(program: str, config: Path) -> None:
    """Become ``clickhouse server``: signals and the exit status are then its own. Does not return."""
    os.execv(program, [program, "server", f"--config-file={config}"])  # noqa: S606 - no shell is the point


def _config(directory: Path, host: str, port: int, accounts: Sequence[Account], max_memory: int) -> str:
    path = escape(str(directory))
    users = "\n        ".join(access.server_user(account.user, account.role, account.password) for account in accounts)
    return f"""<clickhouse>
    <logger><level>warning</level><console>1</console></logger>
    <display_name>movierecs-local</display_name>
    <listen_host>{escape(host)}</listen_host>
    <http_port>{port}</http_port>
    <path>{path}/data/</path>
    <tmp_path>{path}/scratch/</tmp_path>
    <user_files_path>{path}/user_files/</user_files_path>
    <format_schema_path>{path}/format_schemas/</format_schema_path>
    <timezone>UTC</timezone>
    <keep_alive_timeout>30</keep_alive_timeout>
    <max_server_memory_usage>{max_memory}</max_server_memory_usage>
    <mark_cache_size>{min(max_memory // 8, 1 << 30)}</mark_cache_size>
    <default_profile>default</default_profile>
    <default_database>default</default_database>
    <user_directories><users_xml><path>{path}/config.xml</path></users_xml></user_directories>
    {access.SERVER_RULES}
    {access.PROFILES}
    <users>
        {users}
    </users>
</clickhouse>
"""

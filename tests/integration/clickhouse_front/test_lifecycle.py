"""The local ClickHouse as a process: it starts alone or not at all, keeps what it acknowledged, and stops in order."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess, wait_until
from tests.support.services import ClickHouseServer

BLOCK_ROWS = 20_000


def client_of(server: ClickHouseServer) -> Client:
    return clickhouse_connect.get_client(dsn=server.url(), query_retries=0)


PASSWORDS = {"CLICKHOUSE_PASSWORD": "right one", "CLICKHOUSE_READER_PASSWORD": "another"}


def arguments(data: Path, port: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "infra.local.clickhouse", "--data", str(data), "--port", str(port), *more]


def test_every_acknowledged_insert_survives_a_kill_and_none_is_half_there(own_clickhouse: ClickHouseServer) -> None:
    client = client_of(own_clickhouse)
    client.command("CREATE DATABASE kept")
    for table in ("default.events", "kept.events"):
        client.command(
            f"CREATE TABLE {table} (block UInt32, row UInt32) ENGINE = MergeTree ORDER BY (block, row) "
            "SETTINGS fsync_after_insert = 1"
        )
    for kill_number in range(3):
        acknowledged = dict.fromkeys(("default.events", "kept.events"), 0)

        def write(table: str, done: dict[str, int] = acknowledged, first: int = kill_number * 1_000) -> None:
            writer = client_of(own_clickhouse)
            try:
                while True:
                    block = first + done[table]
                    columns = [[block] * BLOCK_ROWS, list(range(BLOCK_ROWS))]
                    writer.insert(table, columns, column_names=["block", "row"], column_oriented=True)
                    done[table] += 1
            except ClickHouseError:
                return

        writers = [threading.Thread(target=write, args=(table,)) for table in acknowledged]
        for writer in writers:
            writer.start()
        wait_until(lambda: min(acknowledged.values()) >= 3, 30, "some inserts are acknowledged")  # noqa: B023
        own_clickhouse.kill9()
        for writer in writers:
            writer.join(30)
        own_clickhouse.restart()
        client = client_of(own_clickhouse)
        for table, count in acknowledged.items():
            found = client.query(
                f"SELECT block, count(), uniqExact(row) FROM {table} WHERE block >= {kill_number * 1_000} "
                "GROUP BY block ORDER BY block"
            ).result_rows
            assert {rows for _, *counts in found for rows in counts} == {BLOCK_ROWS}
            assert len(found) - count in {0, 1}, "one insert may have landed without its answer"


def test_sigterm_lets_a_running_query_finish_and_exits_with_0(own_clickhouse: ClickHouseServer) -> None:
    client = client_of(own_clickhouse)
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    slow = "INSERT INTO t SELECT 7 + sleepEachRow(1) FROM numbers(2) SETTINGS max_block_size = 1"
    answers: list[object] = []
    running = threading.Thread(target=lambda: answers.append(client_of(own_clickhouse).command(slow)))
    running.start()
    busy = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO t%'"
    wait_until(lambda: client.command(busy) == 1, 10, "the insert runs")
    started = time.monotonic()
    assert own_clickhouse.stop() == 0
    assert time.monotonic() - started < 10
    running.join(5)
    assert len(answers) == 1
    own_clickhouse.start()
    assert client_of(own_clickhouse).query("SELECT a FROM t").result_rows == [(7,), (7,)]


def test_sigterm_does_not_wait_for_ever_for_a_query_without_end(own_clickhouse: ClickHouseServer) -> None:
    def run() -> None:
        with pytest.raises(ClickHouseError):
            client_of(own_clickhouse).query("SELECT count() FROM numbers(1000000000000) WHERE number % 7 = 8")

    running = threading.Thread(target=run)
    running.start()
    client = client_of(own_clickhouse)
    busy = "SELECT count() FROM system.processes WHERE query LIKE '%number % 7 = 8%' AND query NOT LIKE '%processes%'"
    wait_until(lambda: client.command(busy) == 1, 10, "the query runs")
    started = time.monotonic()
    assert own_clickhouse.stop() == 0
    assert time.monotonic() - started < 10
    running.join(5)


@pytest.mark.parametrize("taken", ["port", "data"])
def test_a_taken_port_or_data_directory_is_one_clear_line(
    clickhouse: ClickHouseServer, tmp_path: Path, taken: str
) -> None:
    data = Path(clickhouse.process.argv[clickhouse.process.argv.index("--data") + 1])
    argv = arguments(tmp_path, clickhouse.port) if taken == "port" else arguments(data, free_port())
    env = os.environ | PASSWORDS
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    said = f"{ended.stdout}{ended.stderr}".strip().splitlines()
    assert len(said) == 1
    assert (str(clickhouse.port) if taken == "port" else str(data)) in said[0]
    assert clickhouse.answers()


def test_a_password_and_a_memory_bound_hold(tmp_path: Path) -> None:
    port = free_port()
    argv = arguments(tmp_path / "data", port, "--user", "movie", "--max-memory", "600")
    process = ServiceProcess("clickhouse", argv, tmp_path / "log", env=PASSWORDS)

    def connect(user: str, password: str) -> Client:
        return clickhouse_connect.get_client(host="127.0.0.1", port=port, username=user, password=password)

    def accepts() -> bool:
        try:
            return connect("movie", "right one").ping()
        except ClickHouseError:
            return False

    with process.start():
        process.wait_ready(accepts, 30)
        for user, password in (("movie", "wrong"), ("movie", ""), ("default", ""), ("reader", "right one")):
            with pytest.raises(DatabaseError) as refused:
                connect(user, password)
            assert refused.value.code == 516
        client = connect("movie", "right one")
        with pytest.raises(DatabaseError) as refused:
            client.query("SELECT length(groupArray(number)) FROM numbers(400000000)")
        assert refused.value.code == 241
        assert client.command("SELECT 1") == 1
        assert process.stop(10) == 0


def test_a_clickhouse_binary_is_run_instead_with_the_same_address_and_account(tmp_path: Path) -> None:
    program = tmp_path / "clickhouse"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    port = free_port()
    environment = {
        **os.environ,
        "CLICKHOUSE_BINARY": str(program),
        "CLICKHOUSE_PASSWORD": "a<b&c",
        "CLICKHOUSE_READER_PASSWORD": "r",
    }
    argv = arguments(tmp_path / "data", port, "--max-memory", "64")
    ended = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0
    announced, command = ended.stdout.strip().splitlines()
    assert str(program) in announced
    file = Path(command.removeprefix("server --config-file="))
    config = ET.parse(file)  # noqa: S314 - our own file
    assert config.findtext("http_port") == str(port)
    assert config.findtext("listen_host") == "127.0.0.1"
    assert config.findtext("max_server_memory_usage") == str(64 << 20)
    assert config.find("users/default") is None
    for user, password in (("movierecs", b"a<b&c"), ("reader", b"r")):
        assert config.findtext(f"users/{user}/password_sha256_hex") == hashlib.sha256(password).hexdigest()
        grants = [query.text or "" for query in config.findall(f"users/{user}/grants/query")]
        assert grants
        assert not any(word in grant for grant in grants for word in ("ALL", "SOURCES", "FILE", "URL", "FUNCTION"))
    profile = config.findtext("users/reader/profile")
    assert config.findtext(f"profiles/{profile}/readonly") == "2"
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("missing", sorted(PASSWORDS))
def test_without_a_password_it_does_not_start(tmp_path: Path, missing: str) -> None:
    env = {name: value for name, value in (os.environ | PASSWORDS).items() if name != missing}
    argv = arguments(tmp_path, free_port())
    ended = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert missing in ended.stderr


def test_tables_of_a_data_directory_made_before_there_were_accounts_are_kept(tmp_path: Path) -> None:
    made = tmp_path / "data" / "engine" / "data"
    made.parent.mkdir(parents=True)
    old = (
        f"import chdb; c = chdb.connect({str(made)!r}); c.query('CREATE TABLE kept (a UInt8) ENGINE = MergeTree"
        " ORDER BY a'); c.query('INSERT INTO kept VALUES (7)'); c.close()"
    )
    subprocess.run([sys.executable, "-c", old], check=True, timeout=60)
    server = ClickHouseServer(tmp_path)
    try:
        for _ in range(3):
            server.start()
            assert client_of(server).query("SELECT a FROM default.kept").result_rows == [(7,)]
            assert server.stop() == 0
    finally:
        server.close()


def test_the_engine_loads_inside_the_fence_whatever_the_environments_size(tmp_path: Path) -> None:
    """It once looked behind its variables for what the fence hid; whether it crashed depended on their number."""
    load = (
        "import os, sys; from pathlib import Path; from infra.local.clickhouse import fence;"
        " os.environ['TZ'] = 'UTC'; os.chdir(sys.argv[1]);"
        " print(fence.enclose(Path(sys.argv[1]), fence.interpreter_paths(Path(sys.argv[2])))); import chdb"
    )
    for variables in range(12):
        environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)} | {f"V{n}": "x" for n in range(variables)}
        argv = [sys.executable, "-c", load, str(tmp_path), str(ROOT)]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{variables}: {done.returncode} {done.stdout} {done.stderr}"

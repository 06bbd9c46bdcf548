"""The engine behind the front: errors with their codes, settings kept apart, parallel work, merges and mutations."""

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.integration.clickhouse_front.conftest import Connect
from tests.support.processes import wait_until
from tests.support.services import ClickHouseServer


@pytest.mark.parametrize(
    ("statement", "code", "status"),
    [
        ("SELECT * FROM absent", 60, 404),
        ("SELECT * FROM absent.absent", 81, 404),
        ("INSERT INTO absent (a) FORMAT CSV\n1", 60, 404),
        ("SELEC 1", 62, 400),
        ("SELECT 1; SELECT 2", 62, 400),
        ("SELECT 1 SETTINGS no_such_setting = 1", 115, 404),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT groupArray(number) FROM numbers(100000000) SETTINGS max_memory_usage = 50000000", 241, 500),
    ],
)
def test_errors_carry_clickhouse_s_code_status_and_message(
    clickhouse: ClickHouseServer, statement: str, code: int, status: int
) -> None:
    with pytest.raises(HTTPError) as refused:
        clickhouse.execute(statement)
    assert (refused.value.code, refused.value.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert refused.value.read().startswith(f"Code: {code}. DB::Exception: ".encode())


def test_unknown_settings_in_the_url_and_writes_by_get_are_refused(clickhouse: ClickHouseServer) -> None:
    url = f"{clickhouse.http}/"
    account = f"&user=movierecs&password={clickhouse.password}"
    for refused_url, code in (
        (f"{url}?no_such_setting=1&query=SELECT+1", "115"),
        (f"{url}?default_format=No+Name&query=SELECT+1", "73"),
        (f"{url}?query=CREATE+TABLE+x+(a+Int8)+ENGINE=Memory", "164"),
    ):
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(refused_url + account, timeout=10)
        assert refused.value.headers["X-ClickHouse-Exception-Code"] == code


def test_too_many_parts_is_said_with_its_code(client: Client) -> None:
    client.command("CREATE TABLE many (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS parts_to_throw_insert = 2")
    client.command("SYSTEM STOP MERGES many")
    for number in range(2):
        client.insert("many", [[number]], column_names=["a"])
    with pytest.raises(DatabaseError) as refused:
        client.insert("many", [[2]], column_names=["a"])
    assert refused.value.code == 252
    assert client.command("SELECT count() FROM many") == 2


def test_a_setting_of_one_query_is_unknown_to_the_next(client: Client) -> None:
    asking = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    usual = client.command(asking)
    assert client.command(asking, settings={"max_block_size": 1234}) == 1234
    assert client.command(asking) == usual


def test_session_statements_are_refused_rather_than_forgotten(connect: Connect) -> None:
    with pytest.raises(DatabaseError) as refused:
        connect(session_id="one").command("SET max_threads = 1")
    assert refused.value.code == 48


def test_a_long_query_blocks_neither_ping_nor_inserts(connect: Connect) -> None:
    client, other = connect(), connect()
    client.command("CREATE TABLE seen (a UInt64) ENGINE = MergeTree ORDER BY a")
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(other.command, "SELECT sleep(2)")
        started = time.monotonic()
        assert client.ping()
        client.insert("seen", [[1]], column_names=["a"])
        assert client.command("SELECT count() FROM seen") == 1
        assert time.monotonic() - started < 1.5
        assert not long.done()
        long.result(10)


def test_many_clients_insert_and_read_at_once(connect: Connect) -> None:
    connect().command("CREATE TABLE shared (a UInt64) ENGINE = MergeTree ORDER BY a")
    clients = [connect() for _ in range(8)]

    def work(number: int) -> list[int]:
        counts = []
        for block in range(5):
            rows = [[number * 10_000 + block * 1_000 + row] for row in range(1_000)]
            clients[number].insert("shared", rows, column_names=["a"])
            counts.append(int(str(clients[number].command("SELECT count() FROM shared"))))
        return counts

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(work, range(8)))
    assert all(counts == sorted(counts) and counts[-1] % 1_000 == 0 for counts in seen)
    assert connect().query("SELECT count(), uniqExact(a) FROM shared").first_row == (40_000, 40_000)


def test_fifty_inserts_a_second_and_quick_small_selects(connect: Connect) -> None:
    client = connect()
    client.command("CREATE TABLE quick (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    block = client.raw_query("SELECT number AS a, toString(number) AS b FROM numbers(2000)", fmt="Native")
    started = time.monotonic()
    for _ in range(50):
        client.raw_insert("quick", ["a", "b"], block, fmt="Native")
    assert time.monotonic() - started < 4  # a second on an idle machine is 50 inserts; the rest is for a busy one
    started = time.monotonic()
    for _ in range(100):
        client.command("SELECT 1")
    assert time.monotonic() - started < 2


def test_background_merges_replace_rows_and_mutations_delete_them(client: Client) -> None:
    client.command("CREATE TABLE latest (k UInt64, v UInt64) ENGINE = ReplacingMergeTree(v) ORDER BY k")
    for version in range(12):
        client.insert("latest", [[key, version] for key in range(100)], column_names=["k", "v"])
    parts = "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = 'latest' AND active"

    def merged() -> bool:
        count = client.command(parts)
        return isinstance(count, int) and count < 12

    wait_until(merged, 15, "a background merge")
    assert client.query("SELECT count(), min(v) FROM latest FINAL").first_row == (100, 11)
    client.command("OPTIMIZE TABLE latest FINAL")
    assert client.command("SELECT count() FROM latest") == 100
    client.command("ALTER TABLE latest DELETE WHERE k < 10", settings={"mutations_sync": 1})
    client.command("DELETE FROM latest WHERE k >= 90")
    assert client.query("SELECT count(), min(k), max(k) FROM latest").first_row == (80, 10, 89)
    mutations = "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND is_done"
    assert client.command(mutations) == 2


def test_names_with_blanks_reach_the_engine_unharmed(client: Client, clickhouse: ClickHouseServer) -> None:
    client.command("CREATE TABLE `odd name` (`FORMAT x` UInt8, `a``b` String) ENGINE = Memory")
    client.insert("`odd name`", [[1, "SELECT; FORMAT CSV"]], column_names=["FORMAT x", "a`b"])
    assert client.query("SELECT * FROM `odd name`").result_rows == [(1, "SELECT; FORMAT CSV")]
    text = "SELECT 'ü; FORMAT' AS s FORMAT JSONEachRow /* FORMAT CSV */"
    assert clickhouse.execute(text) == '{"s":"ü; FORMAT"}\n'

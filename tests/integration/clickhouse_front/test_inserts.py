"""Inserts over HTTP: every row, once, in one part, in any format and encoding, or not at all."""

import datetime as dt
import socket
import uuid
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.integration.clickhouse_front.conftest import Connect
from tests.support.processes import wait_until

MILLION = 1_000_000
COLUMNS = ["id", "name"]


@pytest.fixture
def table(client: Client) -> str:
    client.command(
        "CREATE TABLE numbers (id UInt64, name String) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1"
    )
    return "numbers"


def parts(client: Client, table: str) -> list[int]:
    """The rows of each active part."""
    rows = client.query(
        "SELECT rows FROM system.parts WHERE database = currentDatabase() AND table = {t:String} AND active",
        parameters={"t": table},
    )
    return [int(row[0]) for row in rows.result_rows]


def total(client: Client, table: str) -> tuple[int, int]:
    """Row count and sum of ids."""
    ((count, ids),) = client.query(f"SELECT count(), sum(id) FROM {table}").result_rows
    return int(count), int(ids)


def test_a_million_rows_in_one_native_block_become_one_part_with_every_row(client: Client, table: str) -> None:
    block = client.raw_query(
        f"SELECT number AS id, toString(number) AS name FROM numbers({MILLION})",
        settings={"max_block_size": MILLION, "preferred_block_size_bytes": 0},
        fmt="Native",
    )
    summary = client.raw_insert(table, COLUMNS, block, fmt="Native")
    assert summary.written_rows == MILLION
    assert parts(client, table) == [MILLION]
    assert total(client, table) == (MILLION, MILLION * (MILLION - 1) // 2)


def test_a_million_rows_that_the_client_cuts_into_blocks_still_become_one_part(client: Client, table: str) -> None:
    ids = list(range(MILLION))
    summary = client.insert(table, [ids, ["x"] * MILLION], column_names=COLUMNS, column_oriented=True)
    assert summary.written_rows == MILLION
    assert parts(client, table) == [MILLION]
    assert total(client, table) == (MILLION, sum(ids))


@pytest.mark.parametrize(
    "fmt", ["Native", "JSONEachRow", "CSV", "CSVWithNames", "TabSeparated", "RowBinary", "ArrowStream", "Parquet"]
)
def test_rows_come_back_as_they_were_sent_in_every_format(client: Client, table: str, fmt: str) -> None:
    sent = "SELECT number AS id, concat('it''s\\t', toString(number)) AS name FROM numbers(70000)"
    summary = client.raw_insert(table, COLUMNS, client.raw_query(sent, fmt=fmt), fmt=fmt)
    assert summary.written_rows == 70_000
    assert parts(client, table) == [70_000]
    differing = client.command(f"SELECT count() FROM ({sent} EXCEPT SELECT id, name FROM {table})")
    assert differing == 0


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", False])
def test_compressed_bodies_are_read_both_ways(connect: Connect, table: str, encoding: str | bool) -> None:
    client = connect(compress=encoding)
    rows = [[number, f"name {number}"] for number in range(200_000)]
    client.insert(table, rows, column_names=COLUMNS)
    assert client.query(f"SELECT id, name FROM {table} ORDER BY id").result_rows == [tuple(row) for row in rows]


def test_a_broken_compressed_body_inserts_nothing(client: Client, table: str) -> None:
    with pytest.raises(DatabaseError) as refused:
        client.raw_insert(table, COLUMNS, b"this is no frame", fmt="CSV", compression="zstd")
    assert refused.value.code == 271
    assert parts(client, table) == []


def test_the_same_token_inserts_once_even_through_a_view(client: Client, table: str) -> None:
    client.command(
        "CREATE TABLE copies (id UInt64) ENGINE = MergeTree ORDER BY id "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    client.command(f"CREATE MATERIALIZED VIEW copying TO copies AS SELECT id FROM {table}")
    settings = {
        "async_insert": 0,
        "insert_deduplication_token": "1:0:0-1:abc",
        "deduplicate_blocks_in_dependent_materialized_views": 1,
    }
    rows = [[number, "x"] for number in range(100_000)]
    for _ in range(3):
        client.insert(table, rows, column_names=COLUMNS, settings=settings)
    assert parts(client, table) == [100_000]
    assert parts(client, "copies") == [100_000]
    client.insert(table, rows, column_names=COLUMNS, settings={**settings, "insert_deduplication_token": "another"})
    assert total(client, table)[0] == total(client, "copies")[0] == 200_000


def test_table_settings_and_written_rows_are_kept(client: Client, table: str) -> None:
    assert "fsync_after_insert = 1" in str(client.command(f"SHOW CREATE TABLE {table}"))
    assert client.command(f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')").written_rows == 2  # type: ignore[union-attr]
    copied = client.command(f"INSERT INTO {table} SELECT id + 2, name FROM {table}")
    assert copied.written_rows == 2  # type: ignore[union-attr]
    assert total(client, table) == (4, 10)


def test_values_may_hold_parameters_and_be_larger_than_a_query(client: Client, table: str) -> None:
    client.command(f"INSERT INTO {table} VALUES ({{i:UInt64}}, {{n:String}})", parameters={"i": 7, "n": "it's\ta \\ ;"})
    assert client.query(f"SELECT id, name FROM {table}").result_rows == [(7, "it's\ta \\ ;")]
    values = ", ".join(f"({number}, 'name; {number}')" for number in range(50_000))
    client.command(f"INSERT INTO {table} VALUES {values}")
    assert total(client, table)[0] == 50_001


def test_rows_of_all_our_types_come_back_equal(connect: Connect) -> None:
    client = connect(tz_mode="aware")
    client.command(
        "CREATE TABLE things (id UUID, at DateTime64(6, 'UTC'), tags Array(String), value Nullable(Float32), "
        "kind LowCardinality(String), maybe Nullable(UUID)) ENGINE = MergeTree ORDER BY id"
    )
    at = dt.datetime(2026, 3, 29, 1, 30, 0, 123_456, tzinfo=dt.timezone.utc)
    rows = [(uuid.UUID(int=1), at, ["a", "b'c"], None, "like", None), (uuid.UUID(int=2), at, [], 0.5, "", uuid.uuid4())]
    client.insert("things", rows, column_names=["id", "at", "tags", "value", "kind", "maybe"])
    assert client.query("SELECT * FROM things ORDER BY id").result_rows == rows
    found = client.query(
        "SELECT id FROM things WHERE at = {at:DateTime64(6, 'UTC')} AND has(tags, {tag:String}) "
        "AND id IN {ids:Array(UUID)}",
        parameters={"at": at, "tag": "b'c", "ids": [uuid.UUID(int=1), uuid.UUID(int=3)]},
    )
    assert found.result_rows == [(uuid.UUID(int=1),)]


def test_an_upload_that_breaks_off_inserts_nothing(client: Client, table: str, clickhouse_database: str) -> None:
    url = urlsplit(clickhouse_database)
    with socket.create_connection(("127.0.0.1", url.port or 0)) as connection:
        head = f"POST /?database={url.path[1:]} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + f"INSERT INTO {table} FORMAT CSV\n".encode() + b"1,a\n" * 1_000)
    client.insert(table, [[2, "b"]], column_names=COLUMNS)
    wait_until(lambda: total(client, table) == (1, 2), 5, "only the whole insert is there")

"""Results over HTTP: streamed in bounded memory, cancelled with their client, never cut short in silence."""

import datetime as dt
import urllib.request
from urllib.parse import urlencode

import psutil
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from tests.integration.clickhouse_front.conftest import Connect
from tests.support.processes import wait_until
from tests.support.services import ClickHouseServer

MEGABYTE = 1 << 20


def running(client: Client, text: str) -> int:
    """How many running queries hold ``text``."""
    found = client.command(
        "SELECT count() FROM system.processes WHERE query LIKE {like:String} AND query NOT LIKE '%system.processes%'",
        parameters={"like": f"%{text}%"},
    )
    assert isinstance(found, int)
    return found


def raw_stream(client: Client, query: str) -> HTTPResponse:
    stream = client.raw_stream(query)
    assert isinstance(stream, HTTPResponse)
    return stream


def test_a_result_of_hundreds_of_megabytes_streams_in_bounded_memory(
    client: Client, clickhouse: ClickHouseServer
) -> None:
    server = psutil.Process(clickhouse.process.pid)
    client.command("SELECT sum(number) FROM numbers(1000000)")
    before, peak, received = server.memory_info().rss, 0, 0
    with client.raw_stream("SELECT number FROM numbers(50000000) FORMAT Native") as stream:
        while chunk := stream.read(4 * MEGABYTE):
            received += len(chunk)
            peak = max(peak, server.memory_info().rss)
    assert received > 400_000_000
    assert peak - before < 150 * MEGABYTE


def test_blocks_of_a_stream_hold_every_row(client: Client) -> None:
    rows = total = 0
    with client.query_column_block_stream("SELECT number FROM numbers(3000000)") as blocks:
        for (column,) in blocks:
            rows += len(column)
            total += sum(column)
    assert (rows, total) == (3_000_000, 3_000_000 * 2_999_999 // 2)


def test_arrow_streams_whole(client: Client) -> None:
    table = client.query_arrow("SELECT number, toString(number) AS text FROM numbers(1000000)")
    assert table.num_rows == 1_000_000
    assert table.column("text")[999_999].as_py() in {"999999", b"999999"}


def test_a_client_that_leaves_cancels_its_query(client: Client) -> None:
    stream = raw_stream(client, "SELECT number AS left_early FROM numbers(100000000000) FORMAT RowBinary")
    stream.read(MEGABYTE)
    assert running(client, "left_early") == 1
    stream.close()
    wait_until(lambda: running(client, "left_early") == 0, 10, "the query whose client left is gone")


def test_a_client_that_leaves_before_the_first_row_cancels_its_query(
    client: Client, clickhouse: ClickHouseServer
) -> None:
    statement = "SELECT count() AS gave_up FROM numbers(1000000000000) WHERE number % 7 = 8"
    query = urlencode({"query": statement, "user": "movierecs", "password": clickhouse.password})
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{clickhouse.http}/?{query}", timeout=0.5)
    wait_until(lambda: running(client, "gave_up") == 0, 10, "the query whose client left is gone")


def test_an_error_after_the_first_rows_is_raised_with_its_code(client: Client) -> None:
    failing = "SELECT throwIf(number = 5000000) FROM numbers(10000000)"
    rows = 0

    def read_all() -> None:
        nonlocal rows
        with client.query_column_block_stream(failing) as blocks:
            for (column,) in blocks:
                rows += len(column)

    with pytest.raises(StreamFailureError) as raised:
        read_all()
    assert raised.value.code == 395
    assert 0 < rows <= 5_000_000


def test_an_error_in_a_raw_stream_breaks_it(client: Client) -> None:
    stream = raw_stream(client, "SELECT throwIf(number = 5000000) FROM numbers(10000000) FORMAT CSV")
    with pytest.raises(HTTPError):
        stream.read()


def test_an_error_late_in_a_query_that_waits_for_its_end_is_an_ordinary_error(client: Client) -> None:
    with pytest.raises(DatabaseError) as raised:
        client.query("SELECT throwIf(number = 5000000) FROM numbers(10000000)")
    assert raised.value.code == 395


def test_an_empty_result_has_its_columns(client: Client) -> None:
    result = client.query("SELECT number AS n, toString(number) AS s FROM numbers(10) WHERE n > 10 -- none;")
    assert (result.result_rows, result.column_names) == ([], ("n", "s"))
    assert client.query("SHOW TABLES").result_rows == []
    assert client.query("SELECT 1 AS n LIMIT 0").column_names == ("n",)


def test_parameters_are_bound_by_the_server(connect: Connect) -> None:
    client = connect(tz_mode="aware")
    at = dt.datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=dt.timezone.utc)
    long_list = list(range(20_000))  # too long for a URL: the client sends a form
    result = client.query(
        "SELECT {s:String}, {n:Nullable(Int64)}, {at:DateTime64(6, 'UTC')}, {a:Array(String)}, "
        "length({l:Array(Int64)})",
        parameters={"s": "it's\t\\n\n?", "n": None, "at": at, "a": ["x", "y'z"], "l": long_list},
    )
    assert result.result_rows == [("it's\t\\n\n?", None, at, ["x", "y'z"], 20_000)]


def test_a_summary_counts_the_rows_read(client: Client) -> None:
    summary = client.query("SELECT sum(number) FROM numbers(1000)").summary
    assert summary is not None
    assert (summary["read_rows"], summary["query_id"] != "") == ("1000", True)


@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip", "deflate", "identity"])
def test_the_answer_is_encoded_as_asked(clickhouse: ClickHouseServer, encoding: str) -> None:
    query = urlencode({"enable_http_compression": 1, "user": "movierecs", "password": clickhouse.password})
    request = urllib.request.Request(f"{clickhouse.http}/?{query}", b"SELECT 1 FORMAT Native")
    request.add_header("Accept-Encoding", encoding)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers.get("Content-Encoding", "identity") == encoding
        assert answer.headers["X-ClickHouse-Format"] == "Native"
        assert answer.headers["X-ClickHouse-Timezone"] == "UTC"

"""Nobody reads or writes a file, or reaches an address, through the local ClickHouse: no page and no client."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.browser import chromium
from tests.support.services import ClickHouseServer

SECRET = "SECRET=hunter2"
# A password that is right, for the question whether it alone would open the door.
Account = tuple[str, str]


@pytest.fixture
def owner(clickhouse: ClickHouseServer) -> Account:
    return ("movierecs", clickhouse.password)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "demo.env"
    file.write_text(SECRET)
    return file


def post(clickhouse: ClickHouseServer, sql: str, auth: Account | None = None, **params: str) -> httpx.Response:
    return httpx.post(f"{clickhouse.http}/", content=sql.encode(), params=params, auth=auth, timeout=20)


def test_a_stranger_runs_nothing(clickhouse: ClickHouseServer) -> None:
    for auth in (None, ("default", ""), ("movierecs", ""), ("movierecs", "wrong"), ("reader", clickhouse.password)):
        answer = post(clickhouse, "SELECT 1", auth)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert post(clickhouse, "SELECT 1", user="movierecs", password="x").status_code == 403


@pytest.mark.parametrize("path", ["/ping", "/", "/?query=SELECT+1"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_elsewhere_is_refused_even_with_a_password(
    clickhouse: ClickHouseServer, owner: Account, path: str, headers: dict[str, str]
) -> None:
    told = {name: value.format(port=clickhouse.port) for name, value in headers.items()}
    for method in ("GET", "POST", "OPTIONS"):
        answer = httpx.request(method, f"{clickhouse.http}{path}", headers=told, auth=owner)
        assert answer.status_code == 403, answer.text
        assert "access-control-allow-origin" not in answer.headers


def test_ordinary_names_of_this_machine_are_accepted(clickhouse: ClickHouseServer, owner: Account) -> None:
    for host in ("127.0.0.1", f"127.0.0.1:{clickhouse.port}", f"LocalHost:{clickhouse.port}"):
        answer = httpx.get(f"{clickhouse.http}/?query=SELECT+1", headers={"Host": host}, auth=owner)
        assert answer.text == "1\n"


READS = [
    "SELECT * FROM file('{file}', LineAsString)",
    "select * from FiLe /* x */ ('{file}', 'LineAsString')",
    "SELECT * FROM `file`('{file}', LineAsString)",
    "SELECT * FROM \"\\x66ile\"('{file}', LineAsString)",
    "SELECT file('{file}')",
    "SELECT `\\x66ile`('{file}')",
    "SELECT a FROM format(JSONEachRow, 'n UInt8, a String DEFAULT file(''{file}'')', '{{\"n\":1}}')",
    "SELECT * FROM `{file}`",
    "SELECT * FROM chdb.`{file}`",
    "DESCRIBE TABLE file('{file}', LineAsString)",
    "SELECT * FROM (SELECT * FROM view(SELECT * FROM file('{file}', LineAsString)))",
    "SELECT * FROM loop(file('{file}', LineAsString)) LIMIT 1",
    "SELECT * FROM fileCluster('default', '{file}', LineAsString)",
    "SELECT * FROM filesystem('{file}')",
    "SELECT * FROM icebergLocal('{file}')",
    "SELECT * FROM sqlite('{file}', 't')",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'",
    "CREATE VIEW default.peek AS SELECT * FROM file('{file}', LineAsString)",
    "CREATE TABLE default.peek (a String) ENGINE = File(LineAsString, '{file}')",
    "CREATE TABLE default.peek AS file('{file}', LineAsString)",
    "CREATE DATABASE peek ENGINE = Filesystem('/')",
    "CREATE DICTIONARY default.peek (a String) PRIMARY KEY a SOURCE(FILE(PATH '{file}' FORMAT 'LineAsString'))"
    " LAYOUT(COMPLEX_KEY_DIRECT())",
    "CREATE TABLE default.peek (a String) ENGINE = FileLog('{file}', 'LineAsString')",
    "INSERT INTO default.lines FROM INFILE '{file}' FORMAT LineAsString",
    "INSERT INTO default.lines from/**/inFILE '{file}' FORMAT LineAsString\n",
    "INSERT INTO default.lines VALUES (file('{file}'))",
    "INSERT INTO default.lines SELECT * FROM file('{file}', LineAsString)",
    "INSERT INTO default.lines FORMAT Values (file('{file}'))",
]


@pytest.mark.parametrize("sql", READS)
def test_no_statement_reads_a_file(own_file_world: "World", sql: str) -> None:
    world = own_file_world
    for auth in (world.owner, world.reader):
        answer = post(world.server, sql.format(file=world.file), auth)
        assert answer.status_code >= 400, answer.text
        assert SECRET not in answer.text
    assert SECRET not in post(world.server, "SELECT * FROM default.lines", world.owner).text
    for settings in ({"format_template_row": str(world.file)}, {"format_schema": str(world.file)}):
        answer = post(world.server, "SELECT 1 FORMAT Template", world.owner, **settings)
        assert (answer.status_code >= 400, SECRET in answer.text) == (True, False)


WRITES = [
    "SELECT 'gone' INTO OUTFILE '{file}' TRUNCATE",
    "SELECT 'gone' into/**/Outfile '{file}' APPEND FORMAT CSV",
    "SELECT 'gone' INTO OUTFILE '{new}' FORMAT CSV",
    "EXPLAIN SELECT 1 INTO OUTFILE '{new}'",
    "OPTIMIZE TABLE default.lines INTO OUTFILE '{new}'",
    "SELECT ‘\"’ INTO OUTFILE '{new}' ‘\"’",
    "SELECT 1; SELECT 2 INTO OUTFILE '{new}'",
    "INSERT INTO FUNCTION file('{file}', LineAsString, 'a String') SETTINGS engine_file_truncate_on_insert = 1"
    " VALUES ('gone')",
    "INSERT INTO TABLE FUNCTION `file`('{new}', CSV, 'a String') SELECT 'gone'",
    "CREATE TABLE default.out (a String) ENGINE = File(CSV, '{new}') AS SELECT 'gone'",
    "CREATE TABLE default.out (a String) ENGINE = EmbeddedRocksDB(0, '{new}') PRIMARY KEY a",
    "CREATE TABLE default.out (a String) ENGINE = SQLite('{new}', 't')",
    "CREATE TABLE default.out (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local,"
    " path = '{new}/')",
    "CREATE TABLE default.out (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = object_storage,"
    " object_storage_type = local_blob_storage, metadata_type = plain, path = '{new}/')",
    "BACKUP TABLE default.lines TO File('{new}')",
    "CREATE DATABASE out ENGINE = SQLite('{new}')",
    "SELECT 1 AS x FORMAT Protobuf SETTINGS output_format_schema = '{new}'",
    "INSERT INTO default.lines (a) ; SELECT 1 INTO OUTFILE '{new}' ; INSERT INTO default.lines FORMAT CSV\nx",
]


@pytest.mark.parametrize("sql", WRITES)
def test_no_statement_writes_a_file(own_file_world: "World", sql: str) -> None:
    world = own_file_world
    new = world.file.with_name("new")
    for auth in (world.owner, world.reader):
        answer = post(world.server, sql.format(file=world.file, new=new), auth)
        assert answer.status_code >= 400, answer.text
    assert world.file.read_text() == SECRET
    assert not new.exists()


REACHES = [
    "SELECT * FROM url('{url}', LineAsString, 'a String')",
    "SELECT * FROM URL('{url}', LineAsString, 'a String')",
    "SELECT * FROM s3('{url}', LineAsString, 'a String')",
    "SELECT * FROM urlCluster('default', '{url}', LineAsString, 'a String')",
    "SELECT * FROM hdfs('hdfs://{address}/x', LineAsString, 'a String')",
    "SELECT * FROM remote('{address}', system.one)",
    "SELECT * FROM mysql('{address}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('{address}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('{address}', 'a', 'b', 'c', 'd', 'a String')",
    "SELECT * FROM redis('{address}', 'a', 'a String')",
    "SELECT * FROM jdbc('jdbc:x://{address}', 'a', 'b')",
    "SELECT * FROM odbc('DSN=x', 'a', 'b')",
    "SELECT * FROM arrowFlight('{address}', 'x')",
    "SELECT * FROM executable('x', CSV, 'a String')",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM clusterAllReplicas('default', system.one)",
    "INSERT INTO FUNCTION url('{url}', CSV, 'a String') VALUES ('x')",
    "CREATE TABLE default.out (a String) ENGINE = URL('{url}', CSV)",
    "CREATE TABLE default.out (a String) ENGINE = S3('{url}', CSV)",
    "CREATE TABLE default.out (a String) ENGINE = Distributed('default', 'system', 'one')",
    "CREATE TABLE default.out (a String) ENGINE = Kafka SETTINGS kafka_broker_list = '{address}',"
    " kafka_topic_list = 'a', kafka_group_name = 'b', kafka_format = 'CSV'",
    "CREATE TABLE default.out (a String) ENGINE = MySQL('{address}', 'a', 'b', 'c', 'd')",
    "CREATE TABLE default.out (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = web,"
    " endpoint = '{url}')",
    "CREATE DATABASE out ENGINE = MySQL('{address}', 'a', 'b', 'c')",
    "CREATE FUNCTION sneak AS x -> x",
    "CREATE NAMED COLLECTION sneak AS url = '{url}'",
    "CREATE USER sneak",
    "GRANT ALL ON *.* TO default",
    "SYSTEM SHUTDOWN",
    "SYSTEM RELOAD CONFIG",
    "SELECT * FROM format(AvroConfluent, unhex('000000000141')) SETTINGS format_avro_schema_registry_url = '{url}'",
]


@pytest.mark.parametrize("sql", REACHES)
def test_no_statement_reaches_an_address_a_program_or_the_servers_own_switches(
    own_file_world: "World", sql: str
) -> None:
    world = own_file_world
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        for auth in (world.owner, world.reader):
            answer = post(world.server, sql.format(address=address, url=f"http://{address}/bucket/x"), auth)
            assert answer.status_code >= 400, answer.text
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert post(world.server, "SELECT 1", world.reader).text == "1\n"


def test_the_reader_reads_and_changes_nothing(own_file_world: "World") -> None:
    world = own_file_world
    post(world.server, "INSERT INTO default.lines VALUES ('kept')", world.owner)
    assert post(world.server, "SELECT a FROM default.lines", world.reader).text == "kept\n"
    for sql in (
        "INSERT INTO default.lines VALUES ('x')",
        "INSERT INTO default.lines FORMAT CSV\nx\n",
        "TRUNCATE TABLE default.lines",
        "ALTER TABLE default.lines DELETE WHERE 1",
        "DROP TABLE default.lines",
        "CREATE TABLE default.more (a Int8) ENGINE = Memory",
        "KILL QUERY WHERE 1",
        "/**/ KILL QUERY WHERE 1",
        "SYSTEM STOP MERGES default.lines",
        "SELECT 1 SETTINGS readonly = 0",
        'SELECT ‘"’ ; SET ROLE movierecs; SELECT ‘"’',
        "SELECT * FROM private.lines",
    ):
        for readonly in ("", "0", "2"):
            answer = post(world.server, sql, world.reader, **({"readonly": readonly} if readonly else {}))
            assert answer.status_code >= 400, (sql, answer.text)
    assert post(world.server, "SELECT a FROM default.lines", world.owner).text == "kept\n"


def test_get_changes_nothing_whoever_asks(own_file_world: "World") -> None:
    world = own_file_world
    for sql in ("TRUNCATE TABLE default.lines", "INSERT INTO default.lines VALUES ('x')"):
        for readonly in ("", "&readonly=0"):
            answer = httpx.get(f"{world.server.http}/?query={quote(sql)}{readonly}", auth=world.owner)
            assert answer.headers["X-ClickHouse-Exception-Code"] == "164"


class World:
    """A server with a file beside it that nobody may touch."""

    def __init__(self, server: ClickHouseServer, file: Path) -> None:
        self.server = server
        self.file = file
        self.owner: Account = ("movierecs", server.password)
        self.reader: Account = ("reader", server.reader_password)


@pytest.fixture
def own_file_world(clickhouse: ClickHouseServer, secret_file: Path) -> Iterator[World]:
    clickhouse.execute("CREATE TABLE default.lines (a String) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("CREATE DATABASE private")
    clickhouse.execute("CREATE TABLE private.lines (a String) ENGINE = Memory")
    yield World(clickhouse, secret_file)
    clickhouse.execute("DROP TABLE default.lines SYNC")
    clickhouse.drop_database("private")


PAGE = """<!doctype html>
<form id=f method=post enctype="text/plain" target=frame action="{target}"><input name="{post}">
</form><iframe name=frame></iframe><img src="{target}?query={get}">"""
TRIES = """async ([target, get, post]) => {
  const seen = [];
  const all = [["GET", `${target}?query=${get}`, undefined], ["POST", target, post]];
  for (const [method, url, body] of all) for (const mode of ["cors", "no-cors"]) for (const credentials of ["include", "omit"]) {
    try { const r = await fetch(url, {method, mode, credentials, body}); seen.push(await r.text()); }
    catch (error) { seen.push("blocked: " + error.message); }
  }
  document.getElementById("f").submit();
  await new Promise(done => setTimeout(done, 500));
  return seen;
}"""  # noqa: E501


@pytest.fixture
def evil_page() -> Iterator[tuple[str, dict[str, str]]]:
    """A page of another origin on this machine, and the values that stand in it."""
    values: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = PAGE.format(**values).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", values
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("password_known", [False, True])
def test_a_page_in_a_browser_reads_and_writes_nothing(
    own_file_world: World, evil_page: tuple[str, dict[str, str]], password_known: bool
) -> None:
    world, (page_url, values) = own_file_world, evil_page
    account = f"&user=movierecs&password={world.server.password}" if password_known else ""
    read = quote(f"SELECT * FROM file('{world.file}', LineAsString)") + account
    write = "INSERT INTO default.lines VALUES ('by a page')"
    overwrite = (
        f"INSERT INTO FUNCTION file('{world.file}', LineAsString, 'a String') "
        "SETTINGS engine_file_truncate_on_insert = 1 VALUES ('gone')"
    )
    # evil.example stands for a name that was made to point to this machine after its page was loaded.
    rebound = f"http://evil.example:{world.server.port}/"
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as browser:
        for target in (f"{world.server.http}/", rebound):
            for statement in (write, overwrite):
                values.update(target=f"{target}?{account[1:]}", get=read, post=statement)
                page = browser.new_page()
                page.goto(page_url if target != rebound else f"{rebound}ping")
                if target == rebound:
                    assert "evil.example" in page.content(), "the server tells why it does not answer"
                    page.set_content(PAGE.format(**values))
                seen = page.evaluate(TRIES, [values["target"], read, statement])
                assert len(seen) == 8
                assert not any(SECRET in text for text in seen)
                page.close()
    assert world.file.read_text() == SECRET
    assert post(world.server, "SELECT a FROM default.lines", world.owner).text == ""

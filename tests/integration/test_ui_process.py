"""The demo's process, before anybody has opened the page."""

import socket
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from infra.local.readiness import http_body
from services.contracts.metrics import UI_API_SECONDS
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess

SOCKET = "/_stcore/stream"


class Demo(NamedTuple):
    """A running demo that listens on all addresses, as in a container."""

    process: ServiceProcess
    port: int
    metrics: int


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    port, metrics = free_port(), free_port()
    argv = [sys.executable, "-m", "ui", "--server.address=0.0.0.0", f"--server.port={port}"]
    environment = {
        "INFERENCE_URL": "http://127.0.0.1:1", "UI_METRICS_PORT": str(metrics), "ALLOWED_HOSTS": "ui, Movies.example",
    }  # fmt: skip
    with ServiceProcess("ui", argv, tmp_path_factory.mktemp("ui") / "ui.log", env=environment) as process:
        process.wait_ready(lambda: http_body(f"http://127.0.0.1:{port}/_stcore/health").startswith("ok"), 30)
        yield Demo(process, port, metrics)


def connect(address: str, port: int, path: str, *headers: str) -> tuple[socket.socket, int]:
    """Send a GET, for `SOCKET` a WebSocket's opening handshake; return the connection and the answer's status."""
    lines = [f"GET {path} HTTP/1.1", *headers]
    if path == SOCKET:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    connection = socket.create_connection((address, port), timeout=10)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection, int(connection.recv(4096).split()[1])


def status(demo: Demo, path: str, *headers: str, address: str = "127.0.0.1") -> int:
    """Return what the demo answers to these headers."""
    written = [header.replace("PORT", str(demo.port)) for header in headers]
    connection, answer = connect(address, demo.port, path, *written)
    connection.close()
    return answer


@pytest.mark.parametrize(("path", "answered"), [("/", 200), ("/_stcore/health", 200), (SOCKET, 101)])
def test_the_demo_is_asked_by_its_own_names_alone(demo: Demo, path: str, answered: int) -> None:
    for name in ("127.0.0.1:PORT", "localhost:PORT", "LOCALHOST", "[::1]:PORT", "ui:8501", "movies.example"):
        assert status(demo, path, f"Host: {name}") == answered, name
        assert status(demo, path, f"Host: {name}", f"Origin: http://{name}") == answered, name
    assert status(demo, path, "Host: movies.example", "Origin: https://movies.example") == answered
    assert status(demo, path, "Host: 127.0.0.2:PORT", address="127.0.0.2") == answered  # as probes ask
    for name in ("evil.example:PORT", "evil.example", "localhost.evil.example:PORT", "127.0.0.2:PORT"):
        assert status(demo, path, f"Host: {name}", f"Origin: http://{name}") == 421, name
        assert status(demo, path, f"Host: {name}") == 421, name
    for malformed in ("ui:", ""):
        assert status(demo, path, f"Host: {malformed}") == 400, malformed


@pytest.mark.parametrize("path", ["/", SOCKET])
def test_another_pages_requests_are_refused(demo: Demo, path: str) -> None:
    for origin in ("http://evil.example:PORT", "null", "http://localhost:3000", "http://127.0.0.1"):
        assert status(demo, path, "Host: 127.0.0.1:PORT", f"Origin: {origin}") == 403, origin


def test_a_second_host_or_none_is_refused(demo: Demo) -> None:
    for path in ("/", SOCKET):
        assert status(demo, path, "Host: localhost:PORT", "Host: evil.example") in {400, 421}
        assert status(demo, path) in {400, 421}


def test_the_metrics_are_there_before_the_first_visitor_and_it_ends_with_a_page_open(demo: Demo) -> None:
    assert f"# TYPE {UI_API_SECONDS.name} histogram" in http_body(f"http://127.0.0.1:{demo.metrics}/metrics")
    page, answer = connect("127.0.0.1", demo.port, SOCKET, "Host: localhost")
    with page:
        assert answer == 101
        assert demo.process.stop() == 0

"""The small server of /metrics and /health, over real HTTP."""

import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from prometheus_client import CollectorRegistry, Gauge

from services.common import metrics_server
from services.common.metrics_server import Heartbeat, serve


def test_it_shows_the_metrics_and_turns_unhealthy_when_the_loop_stalls() -> None:
    registry, heartbeat = CollectorRegistry(), Heartbeat(at_most_seconds=30)
    Gauge("answer", "Of everything.", registry=registry).set(42)
    server = serve(registry, heartbeat, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            assert b"answer 42.0" in answer.read()
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            assert answer.status == 200

        heartbeat.beat_at -= 31
        with pytest.raises(urllib.error.HTTPError) as late:
            urllib.request.urlopen(f"{base}/health", timeout=5)
        assert late.value.code == 503
        assert late.value.read() == b"the main loop has not completed a round for 30 s\n"

        heartbeat.beat()
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            assert answer.status == 200
    finally:
        server.shutdown()
        server.server_close()


def test_it_listens_only_on_the_given_address() -> None:
    server = serve(CollectorRegistry(), Heartbeat(), "127.0.0.2", 0)
    try:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/health", timeout=5)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(metrics_server, "REQUEST_SECONDS", 0.6)
    monkeypatch.setattr(metrics_server, "MAX_CONNECTIONS", 4)
    registry = CollectorRegistry()
    Gauge("answer", "Of everything.", registry=registry).set(42)
    server = serve(registry, Heartbeat(), "127.0.0.1", 0, ["exporter"])
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        with suppress(OSError):
            connection.sendall(request)
        parts = []
        with suppress(ConnectionResetError):
            while part := connection.recv(65536):
                parts.append(part)
    return b"".join(parts)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *(headers or ("Host: localhost",)), "", ""]).encode()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/metrics"), b"200"),
        (get("/metrics?name[]=answer"), b"200"),
        (get("/metrics", "Host: exporter:9102"), b"200"),
        (get("/metrics", "Host: 127.0.0.1:9102"), b"200"),
        (get("/metrics", "Host: evil.example"), b"421"),
        (get("/health", "Host: evil.example"), b"421"),
        (get("/metrics", "Host: localhost", "Origin: http://evil.example"), b"403"),
        (get("/metrics", "Host: localhost", "Sec-Fetch-Site: cross-site"), b"403"),
        (get("/metrics", "X: y"), b"400"),
        (get("/"), b"404"),
        (get("/metrics", method="POST"), b"405"),
        (get("/metrics", "Host: localhost", "A: " + "b" * 40_000), b"431"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", b"408"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_only_valid_requests_for_its_own_names_are_answered(port: int, request_: bytes, status: bytes) -> None:
    assert status in ask(port, request_).splitlines()[0]


def test_head_is_get_without_the_body(port: int) -> None:
    head, _, body = ask(port, get("/metrics", method="HEAD")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200")
    assert body == b""


def test_a_scrape_gets_through_many_idle_connections_and_no_thread_is_left(port: int) -> None:
    before = threading.active_count()
    with ExitStack() as stack:
        for n in range(50):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nA: " if n % 2 else b"")
        assert threading.active_count() <= before + 5
        begun = time.monotonic()
        assert b"answer 42.0" in ask(port, get("/metrics"))
        assert time.monotonic() - begun < 2
        deadline = time.monotonic() + 5
        while threading.active_count() > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_clients_that_hang_up_leave_nothing_on_stderr(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    for request in (b"", b"GET", get("/metrics")):
        for _ in range(5):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
            connection.sendall(request)
            connection.close()
    assert b"answer 42.0" in ask(port, get("/metrics"))
    assert capfd.readouterr().err == ""

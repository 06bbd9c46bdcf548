"""Connection limits, on a real socket: headers, bodies, time, pipelining, and the number of connections."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.inference.http import limits as http_limits
from services.inference.http.server import server_config

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
BIG_ANSWER = 64 << 20


class Served:
    """A server running a small application, and the connections that one test opens."""

    def __init__(self) -> None:
        self.disconnects = 0
        self.server = uvicorn.Server(server_config(self.app, "127.0.0.1", 0))  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until(lambda: self.server.started)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.stack = ExitStack()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        size = 0
        if scope["method"] == "POST":
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.disconnects += 1
                    return
                size += len(message["body"])
                if not message["more_body"]:
                    break
        if scope["path"] == "/slow":
            await asyncio.sleep(0.3)
        body = b"x" * BIG_ANSWER if scope["path"] == "/big" else f"{size} {len(scope['headers'])}".encode()
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]}
        )
        await send({"type": "http.response.body", "body": body})

    def connect(self) -> socket.socket:
        connection = self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port), timeout=5))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def stop(self) -> None:
        self.stack.close()
        self.server.should_exit = True
        self.thread.join(10)


def until(condition: object, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answer(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"(reset)")
    return b"".join(parts)


def status(connection: socket.socket) -> int:
    """The status of an answer after which the server hangs up; problems name what was wrong."""
    head, _, body = answer(connection).partition(b"\r\n\r\n")
    found = int(head.split()[1])
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == found
    return found


def sent_all(connection: socket.socket, parts: list[bytes], pause: float = 0) -> bool:
    """Send the parts one after another; return False if the server hangs up before the end."""
    try:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
    except OSError:
        return False
    return True


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(http_limits, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(http_limits, "BODY_SECONDS", 0.8)
    monkeypatch.setattr(http_limits, "ANSWER_SECONDS", 0.8)
    monkeypatch.setattr(http_limits, "_SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(http_limits, "MAX_CONNECTIONS", 10)
    made = Served()
    yield made
    made.stop()


def works(served: Served) -> bool:
    connection = served.connect()
    connection.sendall(GET)
    return connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 3_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 17_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(200_000)),  # never ends
        b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 3_000_000,
        GET + b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 3_000_000,
    ],
)
def test_a_head_that_is_too_large_is_refused_before_it_is_complete(served: Served, head: bytes) -> None:
    connection = served.connect()

    def send() -> None:
        with suppress(OSError):  # the server hangs up before it has everything
            connection.sendall(head)

    sender = threading.Thread(target=send)
    sender.start()
    if head.startswith(GET):
        assert connection.recv(58).startswith(b"HTTP/1.1 200")
        assert b" 431 " in answer(connection)
    else:
        assert status(connection) == 431
    sender.join(5)
    assert works(served)


def test_a_head_within_the_limits_passes_however_it_is_split(served: Served) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"b" * 15_000 + b"\r\n\r\n"
    connection = served.connect()
    for _ in range(3):
        for start in range(0, len(head), 5_000):
            connection.sendall(head[start : start + 5_000])
            time.sleep(0.01)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_large_body_does_not_count_as_a_head(served: Served) -> None:
    body = b"x" * 1_000_000
    connection = served.connect()
    for _ in range(2):
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert b"1000000 2" in connection.recv(1000)


def test_trailers_are_ignored_and_bounded(served: Served) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    connection = served.connect()
    connection.sendall(head + b"a: b\r\n" * 1_000 + b"\r\n")
    assert b"1 2" in connection.recv(1000)
    connection.sendall(head)
    sent_all(connection, [b"a: b\r\n" * 10_000] * 200)
    assert status(connection) == 413
    assert works(served)


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\na: b"])
def test_a_head_that_takes_too_long_is_refused(served: Served, start: bytes) -> None:
    connection = served.connect()
    connection.sendall(start)
    started = time.monotonic()
    assert status(connection) == 408
    assert 0.4 < time.monotonic() - started < 1.5


def test_trickled_bytes_do_not_keep_a_connection_open(served: Served) -> None:
    connection = served.connect()
    connection.sendall(GET)
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    started = time.monotonic()
    assert not sent_all(connection, [b"G", b"E", b"T", b" ", b"/", *[b"a"] * 100], pause=0.1)
    assert time.monotonic() - started < 4


def test_a_body_that_takes_too_long_is_refused_and_the_application_sees_a_disconnect(served: Served) -> None:
    connection = served.connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert status(connection) == 408
    until(lambda: served.disconnects == 1)


def test_the_applications_time_does_not_count_against_the_client(served: Served) -> None:
    connection = served.connect()
    for _ in range(4):
        connection.sendall(GET.replace(b"hello", b"slow"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_does_not_read_the_answer_is_disconnected(served: Served) -> None:
    connection = served.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(GET.replace(b"hello", b"big"))
    until(lambda: served.connections == 1)
    until(lambda: served.connections == 0)


def test_a_client_that_reads_a_large_answer_slowly_gets_it(served: Served) -> None:
    connection = served.connect()
    connection.sendall(GET.replace(b"hello", b"big").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    received = 0
    for _ in range(12):
        received += len(connection.recv(2 << 20, socket.MSG_WAITALL))
        time.sleep(0.2)
    received += len(answer(connection))
    assert received > BIG_ANSWER


def test_too_many_pipelined_requests_close_only_their_own_connection(served: Served) -> None:
    connection = served.connect()
    connection.sendall(GET * 16)
    assert len(connection.recv(100_000, socket.MSG_PEEK)) > 0
    flood = served.connect()
    with suppress(OSError):
        flood.sendall(GET.replace(b"hello", b"slow") * 100_000)
    until(lambda: served.connections == 1)
    assert works(served)


def test_idle_connections_make_room_for_new_ones(served: Served) -> None:
    for _ in range(50):
        served.connect()
    connection = served.connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    for _ in range(8):
        assert works(served)
    assert served.connections <= 11


def test_when_all_connections_are_busy_a_new_one_gets_a_503(served: Served) -> None:
    busy = []
    for _ in range(10):
        connection = served.connect()
        connection.sendall(GET.replace(b"hello", b"slow"))
        busy.append(connection)
    time.sleep(0.1)
    assert status(served.connect()) == 503
    for connection in busy:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"nonsense\r\n\r\n", b"GET  / HTTP/9.9\r\n\r\n"])
def test_anything_but_http_gets_a_400(served: Served, garbage: bytes) -> None:
    connection = served.connect()
    connection.sendall(garbage)
    assert status(connection) == 400


def test_an_upgrade_header_is_ignored(served: Served) -> None:
    connection = served.connect()
    connection.sendall(GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
    assert b" 200 " in answer(connection)

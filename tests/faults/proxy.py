"""A proxy before ClickHouse that loses requests, loses replies, or answers in ClickHouse's place."""

import hashlib
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
TOKEN = "insert_deduplication_token"


class Act(Enum):
    """What the proxy does with a request."""

    PASS = "pass"
    LOSE_REQUEST = "lose the request"
    LOSE_REPLY = "lose the reply"
    ANSWER_401 = 401
    ANSWER_403 = 403
    ANSWER_503 = 503


@dataclass(frozen=True)
class Insert:
    """One attempt of an insert that reached the proxy: its deduplication token and a digest of its bytes."""

    token: str
    digest: str
    act: Act
    forwarded: bool
    """Whether ClickHouse was given all of it…"""
    answered: bool
    """…and answered the proxy."""


class ClickHouseProxy:
    """Passes everything on to ``port``; what happens to inserts is up to ``decide``, called once per attempt.

    ``on_forwarded`` is called in the moment when ClickHouse has all of an insert and has not answered yet.
    """

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.decide: Callable[[str], Act] = lambda _token: Act.PASS
        self.on_forwarded: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._inserts: list[Insert] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def inserts(self) -> list[Insert]:
        """All attempts so far, in the order in which they ended."""
        with self._lock:
            return list(self._inserts)

    def note(self, insert: Insert) -> None:
        """Remember one attempt."""
        with self._lock:
            self._inserts.append(insert)

    @contextmanager
    def running(self) -> Iterator["ClickHouseProxy"]:
        """Serve within the block."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


def _handler_of(proxy: ClickHouseProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 120

        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            body = self._body()
            token = parse_qs(urlsplit(self.path).query).get(TOKEN, [""])[0]
            if not token:
                self._pass_on(body)
                return
            act = proxy.decide(token)
            forwarded = answered = False

            def on_forwarded() -> None:
                nonlocal forwarded
                forwarded = True
                proxy.on_forwarded()

            if isinstance(act.value, int):
                self._answer(act.value, [], b"not from ClickHouse")
            elif act is Act.LOSE_REQUEST:
                self._hang_up()
            else:
                answered = self._pass_on(body, on_forwarded, keep=act is Act.LOSE_REPLY)
            proxy.note(Insert(token, hashlib.sha256(body).hexdigest(), act, forwarded, answered))

        def _pass_on(self, body: bytes, on_forwarded: Callable[[], None] = lambda: None, *, keep: bool = False) -> bool:
            """Ask ClickHouse and hand back its answer, or ``keep`` it; return whether there was one."""
            connection = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=self.timeout)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            try:
                connection.request(self.command, self.path, body, {**headers, "Connection": "close"})
                on_forwarded()
                reply = connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException):
                self._hang_up()
                return False
            finally:
                connection.close()
            if keep:
                self._hang_up()
            else:
                self._answer(reply.status, reply.getheaders(), content)
            return True

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            try:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in _HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # who asked was killed
                self._hang_up()

        def _hang_up(self) -> None:
            self.close_connection = True

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, format: str, *args: object) -> None:
            """A line per request would hide the test's own."""

    return Handler

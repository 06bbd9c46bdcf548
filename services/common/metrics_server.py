"""The HTTP server of processes without an API: ``/metrics`` for Prometheus, ``/health`` for supervisors.

Connections are limited in number, time and size, to one request each. When all are in use, the one that has waited
longest for its request is closed, so that a scrape always gets through.
"""

import io
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from services.contracts.origin_guard import OriginGuard, encoded

MAX_CONNECTIONS = 16
MAX_REQUEST_BYTES = 16 << 10
REQUEST_SECONDS = 5.0
ANSWER_SECONDS = 10.0
_ROOM_SECONDS = 0.5
log = logging.getLogger(__name__)


@dataclass
class Heartbeat:
    """When a process's main loop last completed a round; the health check reads it."""

    at_most_seconds: float = 60
    beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Note that the loop is alive."""
        self.beat_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Whether the loop completed a round within the time allowed."""
        return time.monotonic() - self.beat_at < self.at_most_seconds


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.reading: dict[socket.socket, None] = {}
        """Connections whose request is not complete, oldest first."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the connection in a thread, if one is free or can be freed."""
        if not self._room.acquire(blocking=False):
            self._close_the_oldest()
            if not self._room.acquire(timeout=_ROOM_SECONDS):
                self.shutdown_request(request)
                return
        self.reading[request] = None
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and free the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.reading.pop(request, None)
            self._room.release()

    def _close_the_oldest(self) -> None:
        for connection in list(self.reading):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already closed
            return

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in one line what failed: nearly always a client that hung up."""
        log.debug("a request for metrics failed", exc_info=True)


class _Handler(WSGIRequestHandler):
    server: _Server
    default_request_version = "HTTP/1.0"  # not HTTP/0.9, whose answers have no status

    def handle(self) -> None:
        """Answer the one request of a connection, once it is complete."""
        try:
            request = self._request()
        except OSError:
            return  # closed by either side
        finally:
            self.server.reading.pop(self.request, None)
        self.request.settimeout(ANSWER_SECONDS)
        if isinstance(request, HTTPStatus):
            self.wfile.write(f"HTTP/1.0 {request} {request.phrase}\r\n\r\n".encode())
        elif request:
            self.rfile = io.BufferedReader(io.BytesIO(request))
            super().handle()

    def _request(self) -> bytes | HTTPStatus:
        """Return request line and headers, nothing when the client hangs up before their end, or why they are refused.

        Raises:
            OSError: the connection broke.
        """
        ends, received = time.monotonic() + REQUEST_SECONDS, b""
        while b"\r\n\r\n" not in received and b"\n\n" not in received:
            left = ends - time.monotonic()
            if len(received) > MAX_REQUEST_BYTES:
                return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            if left <= 0:
                return HTTPStatus.REQUEST_TIMEOUT
            self.request.settimeout(left)
            try:
                part = self.request.recv(MAX_REQUEST_BYTES)
            except TimeoutError:
                return HTTPStatus.REQUEST_TIMEOUT
            if not part:
                return b""
            received += part
        return received

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment, with what the origin guard needs."""
        environ = super().get_environ()
        environ["movierecs.headers"] = encoded(self.headers.items())
        environ["movierecs.reached"] = self.request.getsockname()[0]
        return environ

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests for metrics."""


def serve(
    registry: CollectorRegistry, heartbeat: Heartbeat, host: str, port: int, allowed_hosts: Iterable[str] = ()
) -> WSGIServer:
    """Serve ``/metrics`` and ``/health`` (200 or 503) from a daemon thread; return the server, which knows its port.

    Args:
        registry: what is shown.
        heartbeat: whether the process is healthy.
        host: the address to listen on.
        port: 0 for any that is free.
        allowed_hosts: names accepted in the header `Host`, besides loopback's and the server's address.

    Raises:
        OSError: the port is taken, or the host is not an address of this machine.
    """
    prometheus = make_wsgi_app(registry)
    guard = OriginGuard(allowed_hosts)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def say(status: str, text: str, *headers: tuple[str, str]) -> list[bytes]:
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
            return [text.encode()]

        refusal = guard.refusal(environ["movierecs.headers"], environ["movierecs.reached"], may_be_linked=True)
        if refusal is not None:
            return say(refusal.status_line, f"{refusal.header} {refusal.reason}\n")
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return say("405 Method Not Allowed", "only GET and HEAD\n", ("Allow", "GET, HEAD"))
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return prometheus(environ | {"REQUEST_METHOD": "GET"}, start_response)  # type: ignore[no-any-return]
        if path != "/health":
            return say("404 Not Found", "use /metrics or /health\n")
        if heartbeat.is_fresh():
            return say("200 OK", "ok\n")
        return say(
            "503 Service Unavailable", f"the main loop has not completed a round for {heartbeat.at_most_seconds:g} s\n"
        )

    def without_body(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        parts = list(app(environ, start_response))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else parts

    server = make_server(host, port, without_body, server_class=_Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server

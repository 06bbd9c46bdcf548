"""The demo's ``/metrics`` over HTTP, with limits on connections and time, behind the origin guard.

Apart from the services' metrics server, because the demo imports only contracts and client.
"""

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, make_wsgi_app

from services.contracts.origin_guard import OriginGuard, encoded

MAX_CONNECTIONS = 8
MAX_SECONDS = 5.0


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle the connection in a thread once one is free; each is freed after `MAX_SECONDS`."""
        self._room.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer within `MAX_SECONDS`, however slowly the client sends or reads, and free the thread."""
        end = threading.Timer(MAX_SECONDS, _hang_up, [request])
        end.daemon = True
        end.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            end.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: nearly always a client that hung up."""


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # already closed
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment, with what the origin guard needs."""
        return super().get_environ() | {
            "movierecs.headers": encoded(self.headers.items()),
            "movierecs.reached": self.request.getsockname()[0],
        }

    def log_message(self, format: str, *args: Any) -> None:
        """Do not log requests for metrics."""


def start(host: str, port: int, names: frozenset[str]) -> None:
    """Serve ``/metrics`` from a daemon thread.

    Raises:
        OSError: the port is taken, or the host is not ours.
    """
    prometheus = make_wsgi_app(REGISTRY)
    guard = OriginGuard(names)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = _refused(environ, guard)
        if refused:
            start_response(refused, [("Content-Type", "text/plain; charset=utf-8")])
            return [f"{refused}\n".encode()]
        body = list(prometheus(environ | {"REQUEST_METHOD": "GET"}, start_response))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    server = make_server(host, port, app, server_class=_Server, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _refused(environ: dict[str, Any], guard: OriginGuard) -> str | None:
    """Return the status of a refusal, or None."""
    refusal = guard.refusal(environ["movierecs.headers"], environ["movierecs.reached"], may_be_linked=True)
    if refusal:
        return refusal.status_line
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return "405 Method Not Allowed"
    return None if environ["PATH_INFO"] == "/metrics" else "404 Not Found"

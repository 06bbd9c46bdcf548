"""The HTTP server of processes that have no other: ``/metrics`` for Prometheus, ``/health`` for who restarts them."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app


@dataclass
class Heartbeat:
    """When a process's loop last came round; the health check's only evidence."""

    at_most_seconds: float = 60
    beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Note that the loop is alive."""
        self.beat_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Whether the loop came round within the time that it may take."""
        return time.monotonic() - self.beat_at < self.at_most_seconds


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests for metrics are not worth a log line."""


def serve(registry: CollectorRegistry, heartbeat: Heartbeat, host: str, port: int) -> WSGIServer:
    """Serve ``/metrics`` and ``/health`` (200 or 503) from a daemon thread; return the server, which knows its port.

    Raises:
        OSError: the port is taken, or the host is not ours.
    """
    prometheus = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/health":
            return prometheus(environ, start_response)  # type: ignore[no-any-return]
        ok = heartbeat.is_fresh()
        start_response("200 OK" if ok else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        late = f"the loop has not come round for {heartbeat.at_most_seconds:g} s\n"
        return [b"ok\n" if ok else late.encode()]

    server = make_server(host, port, app, server_class=_Server, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server

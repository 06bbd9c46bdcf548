"""The consumer's Prometheus metrics, made from their declarations, and the small server that shows them."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from services.common.telemetry import counter, gauge, histogram
from services.contracts import metrics as declared

LATEST_HEARTBEAT_SECONDS = 60


@dataclass
class Metrics:
    """All metrics of one consumer process."""

    registry: CollectorRegistry = REGISTRY
    consumed: Counter = field(init=False)
    written: Counter = field(init=False)
    insert_seconds: Histogram = field(init=False)
    block_rows: Histogram = field(init=False)
    insert_retries: Counter = field(init=False)
    commit_failures: Counter = field(init=False)
    rebalances: Counter = field(init=False)
    quarantined: Counter = field(init=False)
    erased: Counter = field(init=False)
    lag: Gauge = field(init=False)
    last_committed: Gauge = field(init=False)
    retention_headroom: Gauge = field(init=False)
    audit_missing: Gauge = field(init=False)
    audit_last: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.consumed = counter(declared.INGEST_RECORDS_CONSUMED, self.registry)
        self.written = counter(declared.INGEST_ROWS_WRITTEN, self.registry)
        self.insert_seconds = histogram(declared.INGEST_INSERT_SECONDS, self.registry)
        self.block_rows = histogram(declared.INGEST_BLOCK_ROWS, self.registry)
        self.insert_retries = counter(declared.INGEST_INSERT_RETRIES, self.registry)
        self.commit_failures = counter(declared.INGEST_COMMIT_FAILURES, self.registry)
        self.rebalances = counter(declared.INGEST_REBALANCES, self.registry)
        self.quarantined = counter(declared.INGEST_QUARANTINED, self.registry)
        self.erased = counter(declared.INGEST_ERASED, self.registry)
        self.lag = gauge(declared.INGEST_CONSUMER_LAG, self.registry)
        self.last_committed = gauge(declared.INGEST_LAST_COMMITTED, self.registry)
        self.retention_headroom = gauge(declared.INGEST_RETENTION_HEADROOM, self.registry)
        self.audit_missing = gauge(declared.INGEST_AUDIT_MISSING, self.registry)
        self.audit_last = gauge(declared.INGEST_AUDIT_LAST, self.registry)


@dataclass
class Heartbeat:
    """When the loop last came round; the health check's only evidence."""

    beat_at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """Note that the loop is alive."""
        self.beat_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Whether the loop came round in the last minute."""
        return time.monotonic() - self.beat_at < LATEST_HEARTBEAT_SECONDS


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Requests for metrics are not worth a log line."""


def serve(metrics: Metrics, heartbeat: Heartbeat, port: int) -> WSGIServer:
    """Serve ``/metrics`` and ``/health`` (200 or 503) from a daemon thread; return the server, which knows its port.

    Raises:
        OSError: the port is taken.
    """
    prometheus = make_wsgi_app(metrics.registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/health":
            return prometheus(environ, start_response)  # type: ignore[no-any-return]
        ok = heartbeat.is_fresh()
        start_response("200 OK" if ok else "503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"ok\n" if ok else b"the loop has not come round for a minute\n"]

    server = make_server("", port, app, server_class=_Server, handler_class=_QuietHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server

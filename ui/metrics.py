"""Durations of the API's calls as seen by the page: Prometheus metrics and a log line per call."""

import logging
import threading

from prometheus_client import Histogram

from services.client.connection import Call
from services.contracts.logs import log_context
from services.contracts.metrics import UI_API_SECONDS
from ui.metrics_server import start

log = logging.getLogger("ui")
_LOCK = threading.Lock()
_served: set[int] = set()

API_SECONDS = Histogram(UI_API_SECONDS.name, UI_API_SECONDS.help, UI_API_SECONDS.labels, buckets=UI_API_SECONDS.buckets)


def observe(call: Call) -> None:
    """Measure and log one call to the API."""
    API_SECONDS.labels(call.route, call.outcome.value).observe(call.seconds)
    with log_context(trace_id=call.trace_id, request_id=call.request_id):
        log.info(
            "asked the API",
            extra={
                "route": call.route,
                "method": call.method,
                "outcome": call.outcome.value,
                "ms": round(call.seconds * 1000, 2),
            },
        )


def serve(host: str, port: int, names: frozenset[str] = frozenset()) -> None:
    """Serve ``/metrics`` from now on, once per process; port 0: do not. A failure is only logged.

    ``names`` are accepted host names, besides loopback's and the server's address.
    """
    with _LOCK:
        if port == 0 or port in _served:
            return
        try:
            start(host, port, names)
            _served.add(port)
        except OSError as error:
            log.error("no /metrics on %s:%d: %s", host, port, error)  # noqa: TRY400 - the message is the point

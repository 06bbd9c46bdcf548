"""How long the API takes, as the page sees it, for Prometheus."""

import logging
import threading
from enum import StrEnum

from prometheus_client import Histogram

from services.contracts.metrics import UI_API_SECONDS
from ui.metrics_server import start

log = logging.getLogger("ui")
_LOCK = threading.Lock()
_served: set[int] = set()

API_SECONDS = Histogram(UI_API_SECONDS.name, UI_API_SECONDS.help, UI_API_SECONDS.labels, buckets=UI_API_SECONDS.buckets)


class Outcome(StrEnum):
    """How a call to the API ended."""

    OK = "ok"
    REFUSED = "refused"
    """4xx: the page asked for something that cannot be."""
    UNAVAILABLE = "unavailable"
    """5xx, or no answer in time."""
    UNEXPECTED = "unexpected"
    """An answer that the contract does not know."""


def observe(route: str, outcome: Outcome, seconds: float) -> None:
    """Note one call; `route` is the path's template."""
    API_SECONDS.labels(route, outcome.value).observe(seconds)


def serve(host: str, port: int, names: frozenset[str] = frozenset()) -> None:
    """Show ``/metrics`` from now on, once per process; 0: not at all. The page works without: a failure is logged.

    ``names`` are those by which it may be asked, besides loopback's and its address.
    """
    with _LOCK:
        if port == 0 or port in _served:
            return
        try:
            start(host, port, names)
            _served.add(port)
        except OSError as error:
            log.error("no /metrics on %s:%d: %s", host, port, error)  # noqa: TRY400 - the message is the point

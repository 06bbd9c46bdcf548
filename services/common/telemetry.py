"""JSON logs to stdout, and Prometheus metrics made from their declarations."""

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from services.contracts.metrics import Metric

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, service, event, then the record's extra fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


def configure_logging(service: str, level: str) -> None:
    """Send all logging of this process to stdout as JSON lines. Called once, from `main`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "urllib3", "clickhouse_connect"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def counter(metric: Metric, registry: CollectorRegistry = REGISTRY) -> Counter:
    """Make the counter that ``metric`` declares."""
    assert metric.kind == "counter", f"{metric.name} is declared as a {metric.kind}"
    return Counter(metric.name, metric.help, metric.labels, registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry = REGISTRY) -> Gauge:
    """Make the gauge that ``metric`` declares."""
    assert metric.kind == "gauge", f"{metric.name} is declared as a {metric.kind}"
    return Gauge(metric.name, metric.help, metric.labels, registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry = REGISTRY) -> Histogram:
    """Make the histogram that ``metric`` declares."""
    assert metric.kind == "histogram", f"{metric.name} is declared as a {metric.kind}"
    buckets = metric.buckets or Histogram.DEFAULT_BUCKETS
    return Histogram(metric.name, metric.help, metric.labels, buckets=buckets, registry=registry)

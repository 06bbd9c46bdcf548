"""JSON logs to stdout, and Prometheus metrics made from their declarations."""

import logging
import sys

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from services.contracts.logs import JsonFormatter
from services.contracts.metrics import Metric


def configure_logging(service: str, level: str) -> None:
    """Send all logging of this process to stdout as JSON lines. Called once, from `main`."""
    # Lines name no file, thread or process: looking these up takes a third of the time of a line.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
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

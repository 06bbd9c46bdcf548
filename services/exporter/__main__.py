"""``python -m services.exporter``: reads the stores for Prometheus until SIGTERM."""

import logging
import signal
import sys
from typing import NoReturn

from prometheus_client import REGISTRY

from services.common.metrics_server import Heartbeat, serve
from services.common.telemetry import configure_logging
from services.exporter.settings import ExporterSettings
from services.exporter.wiring import QUERY_SECONDS, make_scheduler

log = logging.getLogger("services.exporter")


def main() -> NoReturn:
    """Wire and run."""
    settings = ExporterSettings.from_environment()
    configure_logging("exporter", settings.log_level)
    for client in ("urllib3", "clickhouse_connect"):  # `Dependency` logs once that a store is unavailable
        logging.getLogger(client).setLevel(logging.CRITICAL)
    scheduler = make_scheduler(settings, REGISTRY)
    # A collection may wait for two stores once, and three times for ClickHouse's answers.
    heartbeat = Heartbeat(at_most_seconds=settings.exporter_interval_seconds + 4 * QUERY_SECONDS)
    server = serve(REGISTRY, heartbeat, settings.metrics_host, settings.exporter_port, settings.host_names)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log.info("reading the stores", extra={"port": server.server_port})
    scheduler.run(heartbeat)


if __name__ == "__main__":
    main()

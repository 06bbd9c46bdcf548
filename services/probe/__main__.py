"""``python -m services.probe``: measures from like to list until SIGTERM."""

import logging
import signal
import sys
from typing import NoReturn

from services.client.recommender import RecommenderClient
from services.common.metrics_server import Heartbeat, serve
from services.common.telemetry import configure_logging
from services.probe.metrics import Metrics
from services.probe.prober import Prober
from services.probe.settings import ProbeSettings
from services.probe.viewer import Viewer

log = logging.getLogger("services.probe")

REQUESTS_IN_A_ROUND = 10
"""The process counts as stuck only after this many requests of the maximum duration."""


def main() -> NoReturn:
    """Wire and run."""
    settings = ProbeSettings.from_environment()
    configure_logging("probe", settings.log_level)
    metrics = Metrics()
    longest = settings.probe_interval_seconds + REQUESTS_IN_A_ROUND * settings.probe_timeout_seconds
    heartbeat = Heartbeat(at_most_seconds=longest)
    server = serve(metrics.registry, heartbeat, settings.metrics_host, settings.probe_port, settings.host_names)
    # Also in mid-round: the next process takes back this one's like.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    clients = [
        RecommenderClient(
            url, agent="movierecs-probe", timeout_seconds=settings.probe_timeout_seconds, keep_alive=False
        )
        for url in settings.inference_urls
    ]
    log.info("probing", extra={"apis": len(clients), "port": server.server_port})
    prober = Prober(
        [Viewer(client) for client in clients],
        metrics,
        patience_seconds=settings.probe_timeout_seconds,
        grace_seconds=settings.probe_grace_seconds,
    )
    prober.run(settings.probe_interval_seconds, heartbeat)


if __name__ == "__main__":
    main()

"""The small server of /metrics and /health, over real HTTP."""

import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Gauge

from services.common.metrics_server import Heartbeat, serve


def test_it_shows_the_metrics_and_turns_unhealthy_when_the_loop_stands_still() -> None:
    registry, heartbeat = CollectorRegistry(), Heartbeat(at_most_seconds=30)
    Gauge("answer", "Of everything.", registry=registry).set(42)
    server = serve(registry, heartbeat, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            assert b"answer 42.0" in answer.read()
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            assert answer.status == 200

        heartbeat.beat_at -= 31
        with pytest.raises(urllib.error.HTTPError) as late:
            urllib.request.urlopen(f"{base}/health", timeout=5)
        assert late.value.code == 503
        assert late.value.read() == b"the loop has not come round for 30 s\n"

        heartbeat.beat()
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            assert answer.status == 200
    finally:
        server.shutdown()
        server.server_close()


def test_it_listens_on_the_given_address_alone() -> None:
    server = serve(CollectorRegistry(), Heartbeat(), "127.0.0.2", 0)
    try:
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/health", timeout=5)
    finally:
        server.shutdown()
        server.server_close()

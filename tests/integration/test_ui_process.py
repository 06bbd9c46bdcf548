"""The demo's process, before anybody has opened the page."""

import sys
from pathlib import Path

from infra.local.readiness import http_body
from services.contracts.metrics import UI_API_SECONDS
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess


def test_the_metrics_are_there_before_the_first_visitor(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    argv = [sys.executable, "-m", "ui", "--server.address=127.0.0.1", f"--server.port={port}"]
    environment = {"INFERENCE_URL": "http://127.0.0.1:1", "UI_METRICS_PORT": str(metrics)}
    with ServiceProcess("ui", argv, tmp_path / "ui.log", env=environment) as process:
        process.wait_ready(lambda: http_body(f"http://127.0.0.1:{port}/_stcore/health").startswith("ok"), 30)
        assert f"# TYPE {UI_API_SECONDS.name} histogram" in http_body(f"http://127.0.0.1:{metrics}/metrics")
        assert process.stop() == 0

"""`python -m services.inference` as a process: alone in the world it lives, says what it lacks, and ends in order."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "CLICKHOUSE_URL": "http://default:@127.0.0.1:9/default",
    "POSTGRES_DSN": "postgresql://nobody:nothing@127.0.0.1:9/none",
    "MODEL_DIR": "/nonexistent",
    "ADMIN_API_KEY": "sixteen-letters-x",
}


def test_it_lives_without_anything_it_needs_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    process = ServiceProcess(
        "inference", [sys.executable, "-m", "services.inference"], tmp_path / "log",
        env=ENVIRONMENT | {"INFERENCE_PORT": str(port)},
    )  # fmt: skip
    base = f"http://127.0.0.1:{port}"

    def lives() -> bool:
        try:
            return httpx.get(f"{base}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    try:
        process.start()
        process.wait_ready(lives, 20)
        ready = httpx.get(f"{base}/health/ready")
        assert ready.status_code == 503
        assert ready.json()["details"]["postgres"]
        assert httpx.get(f"{base}/v1/items", params={"query": "a"}, timeout=20).status_code == 503
        like = {"user_id": 1, "item_id": 1, "action": "like"}
        answer = httpx.post(f"{base}/v1/events", json=like, timeout=20)
        assert answer.status_code == 503, "a film must not be called unknown before the catalogue was read"
        assert process.stop(deadline_seconds=10) == 0
    finally:
        process.close()


@pytest.mark.parametrize(
    ("variable", "value"), [("ADMIN_API_KEY", None), ("ADMIN_API_KEY", "short"), ("MODEL_DIR", None)]
)
def test_a_missing_or_weak_setting_ends_it_with_one_line_that_names_it(variable: str, value: str | None) -> None:
    environment = {k: v for k, v in (ENVIRONMENT | {variable: value}).items() if v is not None}
    result = subprocess.run(
        [sys.executable, "-m", "services.inference"], env=environment, cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert variable in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "sixteen" not in result.stderr

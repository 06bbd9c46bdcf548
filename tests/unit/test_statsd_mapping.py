"""Airflow's own metrics on their way to Prometheus: the mapping, run by the real exporter."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.prometheus import STATSD_MAPPING
from infra.local.readiness import http_body
from infra.local.settings import ROOT
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until
from tests.support.tools import require_tool

TEXT = (ROOT / STATSD_MAPPING).read_text()
MAPPINGS: list[dict[str, Any]] = yaml.safe_load(TEXT)["mappings"]
AIRFLOW_METRICS = "lib/python3.11/site-packages/airflow/_shared/observability/metrics/metrics_template.yaml"


def test_every_metric_that_is_mapped_is_one_that_this_airflow_sends() -> None:
    sent = yaml.safe_load((ROOT / ".venv-airflow" / AIRFLOW_METRICS).read_text())["metrics"]
    names = {f"airflow.{metric['name']}" for metric in sent}
    *mapped, last = [mapping["match"] for mapping in MAPPINGS]
    assert last == "."
    for match in mapped:
        pattern = re.escape(match).replace(r"\*", r"[^.]+")
        assert any(re.fullmatch(pattern, name) for name in names), match


def test_the_head_of_the_file_lists_every_name() -> None:
    head = TEXT.split("defaults:")[0]
    assert set(re.findall(r"\bairflow_\w+", head)) == {m["name"] for m in MAPPINGS if "action" not in m}


class Exporter:
    def __init__(self, folder: Path) -> None:
        self.udp, http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http}"
        self.process = ServiceProcess(
            "statsd-exporter",
            [
                require_tool("statsd_exporter"), f"--statsd.mapping-config={ROOT / STATSD_MAPPING}",
                f"--statsd.listen-udp=127.0.0.1:{self.udp}", "--statsd.listen-tcp=",
                f"--web.listen-address=127.0.0.1:{http}",
            ],
            folder / "exporter.log",
        )  # fmt: skip

    def send(self, *lines: str) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for line in lines:
                sender.sendto(line.encode(), ("127.0.0.1", self.udp))

    def samples(self) -> dict[str, float]:
        lines = [line for line in http_body(f"{self.url}/metrics").splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    running = Exporter(tmp_path)
    with running.process as process:
        process.wait_ready(lambda: http_body(f"{running.url}/-/ready") != "", 20)
        yield running


def test_tags_become_labels_milliseconds_seconds_and_the_unknown_is_dropped(exporter: Exporter) -> None:
    exporter.send(
        "airflow.dagrun.duration.failed,dag_id=retrain_nightly,run_type=scheduled:61000|ms",
        "airflow.task.duration,dag_id=retrain_nightly,task_id=train:1500|ms",
        "airflow.ti.finish,dag_id=retrain_nightly,task_id=train,state=success:1|c",
        "airflow.pool.open_slots,pool_name=default_pool:3|g",
        "airflow.executor.queued_tasks,status=queued,executor_class_name=LocalExecutor:2|g",
        "airflow.something.new,dag_id=x:1|c",
        "airflow.scheduler_heartbeat:1|c",
    )
    wait_until(lambda: "airflow_scheduler_heartbeat_total" in exporter.samples(), 20, "the metrics are there")

    ours = {name: value for name, value in exporter.samples().items() if name.startswith("airflow_")}

    assert {name: value for name, value in ours.items() if "_bucket" not in name} == {
        'airflow_dag_run_duration_seconds_sum{dag_id="retrain_nightly",run_type="scheduled",state="failed"}': 61,
        'airflow_dag_run_duration_seconds_count{dag_id="retrain_nightly",run_type="scheduled",state="failed"}': 1,
        'airflow_task_duration_seconds_sum{dag_id="retrain_nightly",task_id="train"}': 1.5,
        'airflow_task_duration_seconds_count{dag_id="retrain_nightly",task_id="train"}': 1,
        'airflow_task_finished_total{dag_id="retrain_nightly",state="success",task_id="train"}': 1,
        'airflow_pool_slots{pool_name="default_pool",state="open"}': 3,
        'airflow_executor_slots{executor_class_name="LocalExecutor",status="queued"}': 2,
        "airflow_scheduler_heartbeat_total": 1,
    }
    # Long enough for a night, fine enough for a minute.
    bounds = [float(b) for b in re.findall(r'_run_duration_seconds_bucket\{.*le="([0-9.]+)"', "\n".join(ours))]
    assert min(bounds) <= 5
    assert max(bounds) >= 8 * 3600

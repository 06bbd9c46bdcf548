"""The stack's programs: what each is started with, where it listens, how it is stopped."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from infra.local.environment import airflow_environment
from infra.local.kafka.jars import jars_folder, java_and_maven
from infra.local.prometheus import STATSD_MAPPING
from infra.local.secret_values import secrets_of
from infra.local.settings import StackSettings
from services.contracts.topics import EVENTS_TOPIC, IMPRESSIONS_TOPIC

STORES = ("kafka", "clickhouse", "postgres")
"""Stopped last: the others still write to them on their way out."""


ONE_CORE = {"GOMAXPROCS": "1"}
"""Go's own programs would take every core for a moment; the others need them more."""


@dataclass(frozen=True)
class Program:
    """One supervised process. `ports` names the setting of each port that it binds on 127.0.0.1."""

    name: str
    argv: tuple[str, ...]
    address: str
    ports: Mapping[str, int] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    note: str = ""


def programs(settings: StackSettings, path: str) -> dict[str, Program]:
    """Every program that this machine runs, by name; those given by address are left out, and so are Prometheus and
    the StatsD exporter when they are not on `path`, the PATH."""
    state = str(settings.state)
    statsd_exporter = _statsd_exporter(settings, path)
    url = "http://127.0.0.1"
    all_programs = [
        _kafka(settings),
        Program(
            "clickhouse",
            _module("infra.local.clickhouse", "--data", f"{state}/clickhouse", "--host", "127.0.0.1",
                    "--port", str(settings.clickhouse_port)),
            f"{url}:{settings.clickhouse_port}",
            {"CLICKHOUSE_PORT": settings.clickhouse_port},
            stop_seconds=30,
        ),
        Program(
            "postgres",
            _module("infra.local.postgres", "--data", f"{state}/postgres", "--port", str(settings.postgres_port)),
            f"127.0.0.1:{settings.postgres_port}",
            {"POSTGRES_PORT": settings.postgres_port},
            # PostgreSQL's fast shutdown; TERM would wait for every client to hang up.
            stop_signal="INT",
        ),
        Program(
            "inference",
            _module("services.inference"),
            f"{url}:{settings.inference_port}",
            {"INFERENCE_PORT": settings.inference_port},
        ),
        Program(
            "consumer",
            _module("services.consumer"),
            f"{url}:{settings.consumer_metrics_port}/metrics",
            {"CONSUMER_METRICS_PORT": settings.consumer_metrics_port},
        ),
        Program(
            "exporter",
            _module("services.exporter"),
            f"{url}:{settings.exporter_port}/metrics",
            {"EXPORTER_PORT": settings.exporter_port},
        ),
        Program(
            "probe",
            _module("services.probe"),
            f"{url}:{settings.probe_port}/metrics",
            {"PROBE_PORT": settings.probe_port},
        ),
        Program(
            "ui",
            _module("ui", "--server.headless=true", "--server.address=127.0.0.1",
                    f"--server.port={settings.ui_port}", "--server.fileWatcherType=none",
                    "--browser.gatherUsageStats=false"),
            f"{url}:{settings.ui_port}",
            {"UI_PORT": settings.ui_port, "UI_METRICS_PORT": settings.ui_metrics_port},
        ),
        Program(
            "airflow",
            (str(settings.airflow_bin / "python"), str(settings.root / "infra" / "airflow" / "standalone.py")),
            f"{url}:{settings.airflow_port}",
            {"AIRFLOW_PORT": settings.airflow_port},
            # standalone stops its four parts on INT and on nothing else.
            stop_signal="INT",
            stop_seconds=40,
            environment=airflow_environment(settings, path, statsd=statsd_exporter is not None),
        ),
        statsd_exporter,
        _prometheus(settings, path),
    ]  # fmt: skip
    secrets = secrets_of(settings)
    return {
        program.name: replace(program, secrets=secrets.get(program.name, {}))
        for program in all_programs
        if program and program.name not in settings.external
    }


def _kafka(settings: StackSettings) -> Program:
    libs = settings.state / "kafka"
    argv = _module(
        "infra.local.kafka", "--data", str(libs / "data"), "--libs", str(libs), "--port", str(settings.kafka_port),
        "--controller-port", str(settings.kafka_controller_port),
    )  # fmt: skip
    ports = {"KAFKA_PORT": settings.kafka_port, "KAFKA_CONTROLLER_PORT": settings.kafka_controller_port}
    java, mvn = java_and_maven()
    if java and (mvn or jars_folder(libs).is_dir()):
        return Program("kafka", argv, settings.own_kafka, ports, stop_seconds=30)
    mock = (*argv, "--mock", f"--topic={EVENTS_TOPIC}:4", f"--topic={IMPRESSIONS_TOPIC}:2")
    return Program("kafka", mock, settings.own_kafka, ports, note="IN-MEMORY, keeps nothing: java or mvn is missing")


def _statsd_exporter(settings: StackSettings, path: str) -> Program | None:
    binary = shutil.which("statsd_exporter", path=path)
    if binary is None:
        return None
    address = f"127.0.0.1:{settings.statsd_exporter_port}"
    return Program(
        "statsd-exporter",
        (binary, f"--statsd.mapping-config={settings.root / STATSD_MAPPING}", f"--web.listen-address={address}",
         f"--statsd.listen-udp=127.0.0.1:{settings.statsd_port}", "--statsd.listen-tcp=", "--log.level=warn"),
        f"http://{address}/metrics",
        {"STATSD_EXPORTER_PORT": settings.statsd_exporter_port},
        environment=ONE_CORE,
    )  # fmt: skip


def _prometheus(settings: StackSettings, path: str) -> Program | None:
    binary = shutil.which("prometheus", path=path)
    if binary is None:
        return None
    folder = settings.state / "prometheus"
    address = f"127.0.0.1:{settings.prometheus_port}"
    return Program(
        "prometheus",
        (binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
         "--storage.tsdb.retention.time=15d", "--storage.tsdb.retention.size=1GB", f"--web.listen-address={address}",
         # No page of another origin reads it; by default any may.
         f"--web.cors.origin=http://{address}"),
        f"http://{address}",
        {"PROMETHEUS_PORT": settings.prometheus_port},
        stop_seconds=30,
        environment=ONE_CORE,
    )  # fmt: skip


def _module(module: str, *args: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *args)

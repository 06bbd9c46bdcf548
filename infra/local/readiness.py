"""Does a program answer as its clients will ask? Each check returns within about two seconds and raises nothing."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local.settings import StackSettings

TIMEOUT_SECONDS = 2


def checks(settings: StackSettings) -> dict[str, Callable[[], bool]]:
    """The check of each program that can be asked; a program without one is ready when it keeps running."""
    local = "http://127.0.0.1"
    return {
        "kafka": lambda: kafka_answers(settings.kafka),
        "clickhouse": lambda: http_body(f"{local}:{settings.clickhouse_port}/ping").startswith("Ok"),
        "postgres": lambda: postgres_answers(settings.postgres),
        # Alive, not ready: before the first training there is no model to be ready with.
        "inference": lambda: bool(http_body(f"{local}:{settings.inference_port}/health/live")),
        "probe": lambda: bool(http_body(f"{local}:{settings.probe_port}/health")),
        "exporter": lambda: bool(http_body(f"{local}:{settings.exporter_port}/health")),
        "statsd-exporter": lambda: http_body(f"{local}:{settings.statsd_exporter_port}/-/ready") != "",
        "prometheus": lambda: http_body(f"{local}:{settings.prometheus_port}/-/ready") != "",
        "ui": lambda: http_body(f"{local}:{settings.ui_port}/_stcore/health").startswith("ok"),
        "airflow": lambda: airflow_is_healthy(f"{local}:{settings.airflow_port}"),
    }


def kafka_answers(bootstrap_servers: str) -> bool:
    """Whether a broker sends its metadata."""
    # The default log callback would print one line per refused connection while the broker starts.
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return bool(client.list_topics(timeout=TIMEOUT_SECONDS).brokers)
    except KafkaException:
        return False


def postgres_answers(dsn: str) -> bool:
    """Whether the server lets us in and answers a query."""
    try:
        with psycopg.connect(dsn, connect_timeout=TIMEOUT_SECONDS) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
    except psycopg.Error:
        return False


def http_body(url: str) -> str:
    """The body of a 200 answer, or the empty string for anything else."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - our own http address
            return str(answer.read().decode(errors="replace"))
    except (OSError, ValueError, urllib.error.URLError):
        return ""


def airflow_is_healthy(url: str) -> bool:
    """Whether the API answers and the scheduler and the DAG processor have reported in."""
    try:
        health = json.loads(http_body(f"{url}/api/v2/monitor/health") or "{}")
    except ValueError:
        return False
    parts = ("metadatabase", "scheduler", "dag_processor")
    return all((health.get(part) or {}).get("status") == "healthy" for part in parts)

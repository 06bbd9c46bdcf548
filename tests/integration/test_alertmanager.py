"""A known cause speaks for its symptoms, in Alertmanager itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ports import free_port
from tests.support.processes import ROOT, ServiceProcess, wait_until
from tests.support.tools import require_tool

CONFIG = ROOT / "infra" / "alertmanager" / "alertmanager.yml"
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
SYMPTOMS = ("IngestStalled", "IngestNotFresh", "IngestLagNotDraining")
NEVER_QUIET = ("IngestOffsetGap", "IngestRetentionRisk")


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[httpx.Client]:
    address = f"127.0.0.1:{free_port()}"
    argv = [
        *with_templates(tmp_path),
        require_tool("prometheus-alertmanager"),
        f"--config.file={CONFIG}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    client = httpx.Client(base_url=f"http://{address}", timeout=5)
    with ServiceProcess("alertmanager", argv, tmp_path / "log") as process, client:
        process.wait_ready(lambda: is_ready(client), 20)
        yield client


def with_templates(folder: Path) -> list[str]:
    """Return how to start Debian's Alertmanager, which wants its own templates, where the package is only unpacked.

    Nothing is sent here, so that empty ones do, in a file system that this one process sees.
    """
    if TEMPLATES.is_dir():
        return []
    share = folder / "share"
    made = share / TEMPLATES.relative_to("/usr/share")
    made.mkdir(parents=True)
    for name in ("default.tmpl", "email.tmpl"):
        (made / name).touch()
    mount = 'mount --bind "$0" /usr/share && exec "$@"'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(share)]


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def fire(client: httpx.Client, *alerts: dict[str, str]) -> None:
    client.post("/api/v2/alerts", json=[{"labels": labels} for labels in alerts]).raise_for_status()


def quiet(client: httpx.Client) -> set[str]:
    """Return the names of alerts that nobody is told about, because another one speaks for them."""
    alerts: list[dict[str, Any]] = client.get("/api/v2/alerts").raise_for_status().json()
    return {alert["labels"]["alertname"] for alert in alerts if alert["status"]["inhibitedBy"]}


def told(client: httpx.Client) -> set[tuple[str, str]]:
    """Return receiver and name of every alert that somebody is told about."""
    groups: list[dict[str, Any]] = client.get("/api/v2/alerts/groups").raise_for_status().json()
    return {
        (group["receiver"]["name"], alert["labels"]["alertname"])
        for group in groups
        for alert in group["alerts"]
        if alert["status"]["state"] == "active"
    }


def test_a_dead_consumer_is_one_page_but_lost_records_are_another(alertmanager: httpx.Client) -> None:
    for name in (*SYMPTOMS, *NEVER_QUIET):
        fire(alertmanager, {"alertname": name, "severity": "page", "topic": "events"})
    fire(
        alertmanager,
        {"alertname": "ServiceDown", "severity": "page", "job": "consumer"},
        {"alertname": "TargetMissing", "severity": "ticket", "job": "consumer", "instance": "c:9101"},
        {"alertname": "TargetMissing", "severity": "ticket", "job": "ui", "instance": "u:9105"},
        {"alertname": "FilesRefused", "severity": "ticket"},
    )
    wait_until(lambda: ("tickets", "FilesRefused") in told(alertmanager), 20, "the alerts are grouped")
    assert quiet(alertmanager) == {*SYMPTOMS, "TargetMissing"}
    assert told(alertmanager) == {
        ("pages", "ServiceDown"),
        *(("pages", name) for name in NEVER_QUIET),
        ("tickets", "FilesRefused"),
        ("tickets", "TargetMissing"),  # the other job's
    }


def test_symptoms_without_a_known_cause_are_told_the_greater_one_for_its_own_topic(alertmanager: httpx.Client) -> None:
    fire(
        alertmanager,
        {"alertname": "IngestStalled", "severity": "page", "topic": "events"},
        {"alertname": "IngestNotFresh", "severity": "page", "topic": "events"},
        {"alertname": "IngestLagNotDraining", "severity": "ticket", "topic": "impressions", "partition": "0"},
    )
    wait_until(lambda: ("pages", "IngestStalled") in told(alertmanager), 20, "the alerts are grouped")
    wait_until(lambda: ("tickets", "IngestLagNotDraining") in told(alertmanager), 20, "the tickets too")
    assert quiet(alertmanager) == {"IngestNotFresh"}

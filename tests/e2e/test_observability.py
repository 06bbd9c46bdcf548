"""What the dashboards and alerts ask, asked of a real Prometheus that scrapes the running stack.

Every panel of Grafana and every rule must find what it asks for. LogQL alone is not asked: no Loki runs here.
"""

import json
import re
import time
from typing import Any

import clickhouse_connect
import httpx
import pytest
import yaml
from confluent_kafka import Producer

from grafana.queries import Target, targets_of
from services.contracts import metrics
from services.contracts.metrics import Metric
from services.contracts.topics import EVENTS_TOPIC
from tests.e2e.conftest import RunningStack
from tests.support.browser import chromium
from tests.support.grafana_sql import expanded
from tests.support.processes import ROOT, wait_until
from tests.support.prometheus import Prometheus
from tests.support.promql import selectors
from tests.support.tools import require_tool

DASHBOARDS = ROOT / "grafana" / "dashboards"
RULES = ROOT / "infra" / "prometheus" / "rules"
TRAFFIC_SECONDS = 20

VARIABLES = {"__rate_interval": "20s", "__range": "5m", "__interval": "10s", "__range_s": "300"}


@pytest.fixture(scope="module")
def prometheus(running_stack: RunningStack) -> Prometheus:
    """Prometheus, after every target was scraped while there was traffic of every kind."""
    require_tool("prometheus")
    client = Prometheus(f"http://127.0.0.1:{running_stack.environment['PROMETHEUS_PORT']}")
    wait_until(lambda: set(client.targets().values()) == {"up"}, 60, f"every target is up: {client.targets()}")
    make_traffic(running_stack)
    return client


def make_traffic(stack: RunningStack) -> None:
    """For a while: new and known viewers, likes, bad requests, a record that is no event, and a visitor of the page."""
    ends = time.monotonic() + TRAFFIC_SECONDS
    kafka = Producer({"bootstrap.servers": stack.service_environment["KAFKA_BOOTSTRAP_SERVERS"]})
    with httpx.Client(base_url=stack.inference_url, timeout=10) as api, chromium() as browser:
        page = browser.new_page(base_url=stack.ui_url)
        page.goto("/")
        page.locator(".mr-poster").first.wait_for(timeout=30_000)
        viewer = 10**12
        while time.monotonic() < ends:
            viewer += 1
            if viewer % 5 == 0:
                kafka.produce(EVENTS_TOPIC, key=b"1", value=b"{no json")
                page.reload()
            for user in (viewer, viewer % 900 + 1):
                shown = api.get(f"/v1/users/{user}/recommendations").raise_for_status().json()
                like = {
                    "user_id": user,
                    "item_id": shown["items"][0]["id"],
                    "action": "like",
                    "request_id": shown["request_id"],
                }
                assert api.post("/v1/events", json=like).status_code == 202
                assert api.post("/v1/events", json=like | {"item_id": 0}).status_code == 422
            time.sleep(0.5)
    kafka.flush(10)


def expressions() -> list[Target]:
    return [target for path in sorted(DASHBOARDS.glob("*.json")) for target in targets_of(json.loads(path.read_text()))]


def of(kind: str) -> list[Target]:
    found = [target for target in expressions() if target.datasource == kind]
    assert found
    return found


def filled_in(expression: str) -> str:
    """Replace Grafana's variables: the intervals by times that fit this test, a choice by everything."""
    return re.sub(r"\$\{?(\w+)(?::\w+)?\}?", lambda found: VARIABLES.get(found[1], ".*"), expression)


def rules() -> list[dict[str, Any]]:
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def declared() -> list[Metric]:
    return [value for value in vars(metrics).values() if isinstance(value, Metric)]


def test_every_target_is_up(prometheus: Prometheus) -> None:
    jobs = {name.split()[0] for name in prometheus.targets()}
    assert jobs >= {"inference", "consumer", "exporter", "probe", "ui", "prometheus"}
    assert set(prometheus.targets().values()) == {"up"}, prometheus.targets()


def test_every_metric_that_is_declared_is_exported(prometheus: Prometheus) -> None:
    exported = prometheus.families()
    missing = [m.name for m in declared() if not {m.name, m.name.removesuffix("_total")} & exported]
    assert not missing


def test_every_panel_of_prometheus_has_data(prometheus: Prometheus) -> None:
    empty = []
    for target in of("prometheus"):
        found = prometheus.latest(filled_in(target.expression))
        report(target, found)
        if not found:
            empty.append(f"{target.dashboard} | {target.panel} | {target.expression}")
    assert not empty, "\n".join(empty)


def test_every_panel_of_clickhouse_has_data(prometheus: Prometheus, running_stack: RunningStack) -> None:
    client = clickhouse_connect.get_client(dsn=running_stack.addresses.clickhouse.get_secret_value())
    for target in of("grafana-clickhouse-datasource"):
        result = client.query(filled_in(expanded(target.expression, "now() - INTERVAL 1 DAY", "now()")))
        report(target, {"rows": len(result.result_rows)})
        assert result.result_rows, f"{target.dashboard} | {target.panel}"


def test_every_rule_finds_the_series_that_it_asks_for(prometheus: Prometheus) -> None:
    missing = set()
    for rule in rules():
        for selector in selectors(rule["expr"]):
            asked = f"{selector.name}{{{','.join(str(m) for m in labels(selector))}}}"
            if not prometheus.latest(asked):
                missing.add(f"{rule.get('alert', rule.get('record'))}: {asked}")
    assert not missing, "\n".join(sorted(missing))


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    evaluated = prometheus.rules()
    assert {rule["name"] for rule in evaluated} >= {rule.get("alert", rule.get("record")) for rule in rules()}
    assert not [rule["name"] + rule["lastError"] for rule in evaluated if rule.get("lastError")]


def test_a_healthy_stack_raises_no_alert(prometheus: Prometheus) -> None:
    raised = {rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting" and rule["state"] == "firing"}
    assert not raised


def report(target: Target, found: dict[str, float]) -> None:
    """Print a line of the table of what each panel showed: how many series, and one of their values."""
    value = f"{next(iter(found.values())):.6g}" if found else "–"
    print(f"| {target.dashboard} | {target.panel} | {len(found)} | {value} |")


def labels(selector: Any) -> list[str]:
    """Return the selector's matchers as PromQL, without its offset."""
    found = re.search(r"\{(.*)\}", str(selector))
    return [found[1]] if found and found[1] else []

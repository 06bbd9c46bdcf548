"""Alerts and recording rules: Prometheus' own tool tests them, and each reads what exists and is explained."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.contracts import metrics
from services.contracts.metrics import Metric
from tests.support.processes import ROOT
from tests.support.promql import metric_names
from tests.support.tools import require_tool

PROMETHEUS = ROOT / "infra" / "prometheus"
TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))
RUNBOOK = (ROOT / "infra/prometheus/RUNBOOK.md").read_text()
Rule = dict[str, Any]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


GROUPS = [group for path in sorted(PROMETHEUS.glob("rules/*.yml")) for group in load(path)["groups"]]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def run(*argv: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [require_tool(str(argv[0])), *map(str, argv[1:])], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_prometheus_takes_configuration_and_rules() -> None:
    status, said = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert status == 0, said
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(RULES)


def test_alerts_fire_and_stay_silent_as_their_tests_say() -> None:
    promtool = require_tool("promtool")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: run(promtool, "test", "rules", path), TESTS)
    assert not [said for status, said in results if status]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_what_is_recorded_is_evaluated_before_the_alerts_that_read_it(path: Path) -> None:
    """Groups that are not named are evaluated together with the first one, in any order."""
    records_first = sorted(GROUPS, key=lambda group: "alert" in group["rules"][0])
    assert load(path)["group_eval_order"] == [group["name"] for group in records_first]


def alerts_in_tests() -> tuple[set[str], set[str]]:
    """Return the alerts that some test wants to fire, and those that some test wants silent."""
    fires: set[str] = set()
    silent: set[str] = set()
    for path in TESTS:
        for case in load(path)["tests"]:
            for asked in case["alert_rule_test"]:
                (fires if asked["exp_alerts"] else silent).add(asked["alertname"])
    return fires, silent


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent() -> None:
    assert alerts_in_tests() == (set(ALERTS), set(ALERTS))


def known_names() -> set[str]:
    """What the services declare (as Prometheus stores it), what Airflow's mapping makes, what is recorded, and `up`."""
    names = {"up"} | RECORDED
    names |= {mapping["name"] for mapping in load(PROMETHEUS / "statsd_mapping.yml")["mappings"] if "name" in mapping}
    for metric in (value for value in vars(metrics).values() if isinstance(value, Metric)):
        suffixes = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        names |= {metric.name + suffix for suffix in suffixes}
    return names


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert", rule.get("record")))
def test_every_metric_that_a_rule_reads_exists(rule: Rule) -> None:
    assert metric_names(rule["expr"]) <= known_names()


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_what_is_wrong_how_much_how_urgent_it_is_and_where_help_is(rule: Rule) -> None:
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert "$value" in rule["annotations"]["description"]
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert rule["annotations"]["runbook_url"] == f"infra/prometheus/RUNBOOK.md#{rule['alert'].lower()}"


def test_every_alert_has_a_section_in_the_runbook_and_every_section_an_alert() -> None:
    sections = re.findall(r"^### (\w+)$", RUNBOOK, flags=re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)

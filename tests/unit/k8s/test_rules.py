"""The rules in the cluster are the rules that promtool tests."""

import pytest
import yaml

from infra.k8s.prometheus_rule import RULES, TARGET, prometheus_rule, text
from tests.unit.k8s.cluster import Cluster


def test_the_committed_rules_are_made_of_the_prometheus_rules() -> None:
    assert TARGET.read_text() == text(), "run: python -m infra.k8s.prometheus_rule"


def test_every_alert_that_is_not_about_airflow_is_in_the_cluster(cluster: Cluster) -> None:
    written = {
        rule["alert"]
        for path in RULES.glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule and "airflow" not in rule["expr"]
    }
    (rules,) = cluster.of("PrometheusRule")
    assert {r["alert"] for group in rules["spec"]["groups"] for r in group["rules"] if "alert" in r} == written
    assert len(written) > 10


@pytest.mark.parametrize(("expression", "stays"), [("up == 0", True), ('up{job="airflow"} == 0', False)])
def test_rules_about_airflow_stay_out(expression: str, stays: bool) -> None:
    made = prometheus_rule([{"name": "targets", "rules": [{"alert": "TargetMissing", "expr": expression}]}])
    assert bool(made["spec"]["groups"]) is stays

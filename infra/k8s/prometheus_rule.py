"""Writes our recording rules and alerts as a PrometheusRule: ``python -m infra.k8s.prometheus_rule``.

The rules are written once, in ``infra/prometheus/rules``; what this makes of them is committed, and a test compares.
"""

from pathlib import Path
from typing import Any

import yaml

INFRA = Path(__file__).resolve().parents[1]
RULES = INFRA / "prometheus" / "rules"
TARGET = INFRA / "k8s" / "components" / "prometheus-operator" / "rules.yaml"
HEADER = "# Made of infra/prometheus/rules by `python -m infra.k8s.prometheus_rule`: change those.\n"
NOT_HERE = "airflow"
"""Rules about it are left out: in the cluster, a CronJob starts the nightly run."""

Rule = dict[str, Any]


def prometheus_rule(groups: list[Rule]) -> Rule:
    """Return the object of the Prometheus operator that holds these groups, without those left empty."""
    kept = [group | {"rules": [rule for rule in group["rules"] if NOT_HERE not in rule["expr"]]} for group in groups]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "movierecs"},
        "spec": {"groups": [group for group in kept if group["rules"]]},
    }


def text() -> str:
    """Return the file that belongs to the rules as they are now."""
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    return HEADER + yaml.safe_dump(prometheus_rule(groups), sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    TARGET.write_text(text())

"""Every PromQL expression parses, and reads metrics that something is declared to export."""

import re

import pytest
import yaml

from grafana.queries import Target
from services.contracts import metrics
from services.contracts.metrics import Metric
from tests.support.processes import ROOT
from tests.support.promql import metric_names
from tests.unit.grafana.committed import DASHBOARDS, name_of, targets

STANDARD = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of Prometheus itself, and of every process with a Prometheus client."""
TARGETS = targets("prometheus")
each_target = pytest.mark.parametrize("target", TARGETS, ids=name_of)
VARIABLES = {"__rate_interval": "1m", "__range": "1h"}


def filled_in(expression: str) -> str:
    """Put in values for Grafana's variables."""
    return re.sub(r"\$(\w+)", lambda found: VARIABLES.get(found[1], ".+"), expression)


def exported() -> set[str]:
    """Every series name that the services, Airflow's exporter and the recording rules are declared to make."""
    names = set(STANDARD)
    for metric in vars(metrics).values():
        if isinstance(metric, Metric):
            suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
            names |= {metric.name + suffix for suffix in suffixes}
    mapping = yaml.safe_load((ROOT / "infra/prometheus/statsd_mapping.yml").read_text())
    for entry in mapping["mappings"]:
        name = entry["name"]
        timed = name.endswith("_duration_seconds") or "delay" in name
        names |= {name + suffix for suffix in ("_bucket", "_sum", "_count")} if timed else {name}
    for path in (ROOT / "infra/prometheus/rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            names |= {rule["record"] for rule in group["rules"] if "record" in rule}
    return names


@each_target
def test_it_parses_and_reads_what_is_exported(target: Target) -> None:
    assert metric_names(filled_in(target.expression)) <= exported()


@each_target
def test_rates_are_over_the_interval_that_fits_the_zoom(target: Target) -> None:
    """A fixed window is too short when Grafana draws a week, and too long when it draws five minutes."""
    assert set(re.findall(r"(?<!\")\[(.*?)\]", target.expression)) <= {"$__rate_interval", "$__range"}


@each_target
def test_a_gauge_that_several_processes_report_for_a_partition_counts_once(target: Target) -> None:
    several = {m.name for m in (metrics.INGEST_CONSUMER_LAG, metrics.INGEST_AUDIT_MISSING, metrics.INGEST_AUDIT_LAST,
                                metrics.INGEST_LAST_COMMITTED, metrics.INGEST_RETENTION_HEADROOM)}  # fmt: skip
    for name in metric_names(filled_in(target.expression)) & several:
        assert re.search(rf"(max|min) by \(topic(, partition)?\) \({name}\)", target.expression)


def test_every_declared_metric_is_on_a_dashboard() -> None:
    """What nobody looks at is not worth its series; recording rules look on behalf of the panels that read them."""
    rules = " ".join(path.read_text() for path in (ROOT / "infra/prometheus/rules").glob("recording.yml"))
    shown = rules + " ".join(target.expression for target in TARGETS)
    declared = {metric.name for metric in vars(metrics).values() if isinstance(metric, Metric)}
    assert not {name for name in declared if not re.search(rf"\b{name}(_bucket|_sum|_count)?\b", shown)}


def test_what_can_be_chosen_is_read_from_labels_that_exist() -> None:
    queries = [v["query"] for d in DASHBOARDS.values() for v in d["templating"].get("list", ()) if v["type"] == "query"]
    asked = [re.fullmatch(r"label_values\((.+), (\w+)\)", query) for query in queries if isinstance(query, str)]
    assert asked
    for found in asked:
        assert found
        assert metric_names(found[1]) <= exported()
        assert found[2] in {"instance", "job", "version"}

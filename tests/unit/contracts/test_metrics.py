"""Declared metrics follow Prometheus' conventions, carry no ids, and each is exported by some process."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.common import telemetry
from services.contracts import metrics
from services.contracts.metrics import Metric

ROOT = Path(__file__).parents[3]
DECLARED = {name: value for name, value in vars(metrics).items() if isinstance(value, Metric)}
MAKE = {"counter": telemetry.counter, "gauge": telemetry.gauge, "histogram": telemetry.histogram}

NOT_BASE_UNITS = {"ms", "millis", "milliseconds", "us", "micros", "minutes", "hours", "days", "percent", "kb", "mb"}
UNITS = {"seconds", "rows", "messages", "offsets", "bits", "ratio"}
"""Units of gauges and histograms that measure a quantity."""
COUNTS = {
    "erasures_pending",
    "http_server_active_requests",
    "recommender_lists_shown",
    "recommender_lists_liked",
}
STATES = {"dependency_up", "model_info", "model_champion_info", "trainer_step_last_exit_status"}
ANY_SCALE = {"model_metric", "model_offline_metric"}
"""Offline metrics by name: NDCG, hit rate, coverage, …"""


@pytest.fixture(params=sorted(DECLARED))
def metric(request: pytest.FixtureRequest) -> Metric:
    return DECLARED[request.param]


def test_prometheus_client_accepts_it(metric: Metric) -> None:
    registry = CollectorRegistry()
    MAKE[metric.kind](metric, registry)
    assert f"# TYPE {metric.name} {metric.kind}\n" in generate_latest(registry).decode()


def test_its_name_follows_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created")), "Prometheus adds these suffixes itself"


def test_its_unit_is_a_base_unit_and_ends_the_name(metric: Metric) -> None:
    words = metric.name.split("_")
    assert not NOT_BASE_UNITS & set(words)
    if metric.kind != "counter" and metric.name not in COUNTS | STATES | ANY_SCALE:
        assert words[-1] in UNITS
    if "timestamp" in words:
        assert metric.name.endswith("_timestamp_seconds")


def test_its_help_is_a_sentence(metric: Metric) -> None:
    assert re.fullmatch(r"[A-Z1].{10,}\.", metric.help)


def test_its_labels_are_neither_ids_nor_reserved(metric: Metric) -> None:
    assert len(set(metric.labels)) == len(metric.labels)
    for label in metric.labels:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", label)
        assert not re.search(r"user|viewer|item|film|request|event|trace|id$|path|url|title", label)
        assert label not in {"job", "instance", "le", "quantile", "env", "level", "service"}


def test_only_histograms_have_buckets_which_ascend(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert all(low < high for low, high in pairwise(metric.buckets))


def test_names_are_unique_even_with_the_suffixes_that_prometheus_adds() -> None:
    families = [m.name.removesuffix("_total") for m in DECLARED.values()]
    assert len(set(families)) == len(families)
    made = {f"{m.name}_{end}" for m in DECLARED.values() if m.kind == "histogram" for end in ("count", "sum", "bucket")}
    assert not made & {m.name for m in DECLARED.values()}


def trees() -> list[ast.AST]:
    """The code of every process: all but the declarations."""
    services = (p for p in (ROOT / "services").rglob("*.py") if p.parent.name != "contracts")
    return [ast.parse(path.read_text()) for path in (*services, *(ROOT / "ui").rglob("*.py"))]


@pytest.fixture(scope="module")
def named() -> set[str]:
    """The names that this code uses outside its imports."""
    nodes = [node for tree in trees() for node in ast.walk(tree)]
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)} | {
        node.id for node in nodes if isinstance(node, ast.Name)
    }


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_some_process_exports_it(name: str, named: set[str]) -> None:
    assert name in named


def test_no_process_makes_an_undeclared_metric() -> None:
    calls = [node for tree in trees() for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    undeclared = [
        ast.unparse(call)
        for call in calls
        if re.search(r"(Counter|Gauge|Histogram|Summary|Info|MetricFamily)$", ast.unparse(call.func))
        and isinstance(call.args[0], ast.Constant | ast.JoinedStr)
    ]
    assert undeclared == []

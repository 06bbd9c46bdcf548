"""Queries for the three data sources, and the few shapes of PromQL that most panels ask."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import loki, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.sources import CLICKHOUSE, LOKI, PROMETHEUS
from services.contracts.metrics import Metric

CLICKHOUSE_PLUGIN = "4.20.0"
"""The version of Grafana's ClickHouse plugin whose query model `Sql` writes; Compose installs the same."""
_TIME_SERIES, _TABLE = 0, 1


@dataclass(frozen=True)
class Target:
    """A query of a panel, as the generated JSON has it; ``datasource`` is the data source's type."""

    dashboard: str
    panel: str
    datasource: str
    expression: str


def targets_of(dashboard: dict[str, Any]) -> Iterator[Target]:
    """Yield every query of a dashboard's JSON; Grafana's variables ($service, $__rate_interval) still stand in it."""
    for panel in dashboard["panels"]:
        for query in panel.get("targets", ()):
            expression = query.get("expr") or query["rawSql"]
            yield Target(dashboard["title"], panel["title"], query["datasource"]["type"], expression)


def over_time(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Ask Prometheus for a series per step of the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").range().datasource(PROMETHEUS)


def now(expr: str, legend: str = "") -> prometheus.Dataquery:
    """Ask Prometheus for the value at the end of the dashboard's range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend or "__auto").instant().datasource(PROMETHEUS)


def now_as_table(expr: str) -> prometheus.Dataquery:
    """Ask the same, a row per series and a column per label."""
    return now(expr).format(PromQueryFormat.TABLE)


def log_query(expr: str) -> loki.Dataquery:
    """Ask Loki for log lines, newest first."""
    query = loki.Dataquery().expr(expr).query_type("range").datasource(LOKI)
    return query.direction(LokiQueryDirection.BACKWARD).max_lines(500)


def log_rate(expr: str, legend: str) -> loki.Dataquery:
    """Ask Loki for a metric made of log lines."""
    return loki.Dataquery().expr(expr).query_type("range").legend_format(legend).datasource(LOKI)


class Sql(Builder[Dataquery]):
    """A query of ClickHouse, which the SDK has no type for: as a table, or as one series per value of `series`."""

    def __init__(self, sql: str, *, series: bool = False) -> None:
        self._model: dict[str, Any] = {
            "datasource": CLICKHOUSE.to_json(),
            "editorType": "sql",
            "format": _TIME_SERIES if series else _TABLE,
            "pluginVersion": CLICKHOUSE_PLUGIN,
            "queryType": "timeseries" if series else "table",
            "rawSql": " ".join(sql.split()),
        }

    def build(self) -> Dataquery:
        """Return the query model."""
        return UnknownDataquery(self._model)


def rate_of(metric: Metric, by: str = "", where: str = "") -> str:
    """PromQL: a counter's growth per second, summed over the replicas, per value of the labels ``by``."""
    return f"{_sum(by)} (rate({metric.name}{_braces(where)}[$__rate_interval]))"


def share_of(metric: Metric, part: str, by: str = "", where: str = "") -> str:
    """PromQL: which share of a counter's growth falls on the labels ``part``; 0 also where such a series is not yet."""
    of_all = rate_of(metric, by, where)
    of_part = rate_of(metric, by, f"{part}, {where}" if where else part)
    return f"({of_part} or 0 * {of_all}) / ({of_all} > 0)"


def quantile_of(quantile: float, metric: Metric, by: str = "", where: str = "") -> str:
    """PromQL: a quantile of a histogram over all replicas, per value of the labels ``by``."""
    labels = f"le, {by}" if by else "le"
    buckets = f"rate({metric.name}_bucket{_braces(where)}[$__rate_interval])"
    return f"histogram_quantile({quantile}, sum by ({labels}) ({buckets}))"


def mean_of(metric: Metric, by: str = "", where: str = "") -> str:
    """PromQL: the mean of what a histogram saw, per value of the labels ``by``."""
    sums = f"{_sum(by)} (rate({metric.name}_sum{_braces(where)}[$__rate_interval]))"
    counts = f"{_sum(by)} (rate({metric.name}_count{_braces(where)}[$__rate_interval]))"
    return f"{sums} / ({counts} > 0)"


def worst_of(metric: Metric, by: str = "topic, partition") -> str:
    """PromQL: a gauge that the consumers and the exporter both report, once per partition."""
    return f"max by ({by}) ({metric.name})"


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""

"""The kinds of panels in the house style. A title is a question or a fact; the description says how to read it.

Every kind takes the title, the description, the unit and the queries; a panel's place comes from `grafana.layout`.
"""

from collections.abc import Mapping
from typing import TypeAlias

from grafana_foundation_sdk.builders import logs, stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    GraphThresholdsStyleConfig,
    ReduceDataOptions,
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import DashboardLink, FieldColor, ThresholdsConfig
from grafana_foundation_sdk.builders.dashboard import Panel as AnyPanel
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
)

from grafana.sources import LOKI, PROMETHEUS

Query: TypeAlias = Builder[Dataquery]

GREEN, YELLOW, RED = "green", "orange", "red"
LOGS_UID = "movierecs-logs"


def bad_from(red: float, yellow: float | None = None) -> ThresholdsConfig:
    """Green below, red from ``red`` on, orange between."""
    between = [] if yellow is None else [Threshold(value=yellow, color=YELLOW)]
    steps = [Threshold(value=None, color=GREEN), *between, Threshold(value=red, color=RED)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def bad_below(green: float, yellow: float | None = None) -> ThresholdsConfig:
    """Green from ``green`` on, red below, orange between."""
    between = [] if yellow is None else [Threshold(value=yellow, color=YELLOW)]
    steps = [Threshold(value=None, color=RED), *between, Threshold(value=green, color=GREEN)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def chart(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    source: DataSourceRef = PROMETHEUS,
    stacked: bool = False,
    limits: ThresholdsConfig | None = None,
) -> timeseries.Panel:
    """Lines over time; with ``limits`` the line that should not be crossed is drawn."""
    panel = timeseries.Panel().title(title).description(description).unit(unit).datasource(source)
    panel.legend(
        VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    panel.line_width(1).fill_opacity(30 if stacked else 8).axis_soft_min(0)
    if stacked:
        panel.stacking(StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds(limits)
        panel.thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    for query in queries:
        panel.with_target(query)
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    limits: ThresholdsConfig | None = None,
) -> stat.Panel:
    """One number per series, as it is now; coloured by ``limits``."""
    panel = stat.Panel().title(title).description(description).unit(unit).datasource(PROMETHEUS)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.color_mode(BigValueColorMode.VALUE).graph_mode(BigValueGraphMode.NONE)
    if limits:
        panel.thresholds(limits).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    else:
        panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color("text"))
    for query in queries:
        panel.with_target(query)
    return panel


def listing(
    title: str,
    description: str,
    *queries: Query,
    source: DataSourceRef = PROMETHEUS,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
) -> table.Panel:
    """A table; ``units`` and ``links`` are per column, for columns have nothing in common."""
    panel = table.Panel().title(title).description(description).datasource(source).filterable(True)
    for query in queries:
        panel.with_target(query)
    for column, unit in (units or {}).items():
        panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    for column, url in (links or {}).items():
        link = {"title": "Its logs", "url": url, "targetBlank": False}
        panel.override_by_name(column, [DynamicConfigValue(id_val="links", value=[link])])
    return panel


def columns(panel: table.Panel, names: Mapping[str, str], *hidden: str) -> table.Panel:
    """Join a table's instant queries into one row per label set; name its columns and leave out ``hidden`` ones."""
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    options = {
        "excludeByName": dict.fromkeys(("Time", "__name__", *hidden), True),
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": dict(names),
    }
    return panel.with_transformation(DataTransformerConfig(id_val="organize", options=options))


def log_lines(title: str, description: str, query: Query) -> logs.Panel:
    """Log lines, newest first; a click on a line shows its fields, of which the trace id links to all of its lines."""
    panel = logs.Panel().title(title).description(description).datasource(LOKI).with_target(query)
    panel.show_time(True).wrap_log_message(True).enable_log_details(True).sort_order(LogsSortOrder.DESCENDING)
    return panel.prettify_log_message(False).show_labels(False)


def alert_list(title: str, description: str) -> AnyPanel:
    """The alerts of Prometheus that are pending or firing; Grafana asks its rules' state, so there is no query."""
    options = {
        "alertInstanceLabelFilter": "",
        "alertName": "",
        "dashboardAlerts": False,
        "datasource": "Prometheus",
        "groupMode": "default",
        "maxItems": 50,
        "sortOrder": 3,
        "stateFilter": {"error": True, "firing": True, "noData": False, "normal": False, "pending": True},
        "viewMode": "list",
    }
    return AnyPanel().type("alertlist").title(title).description(description).datasource(PROMETHEUS).options(options)


def with_logs(panel: timeseries.Panel, service: str) -> timeseries.Panel:
    """Add a link to the service's log lines of the same time."""
    return panel.links([logs_link(service)])


def logs_link(service: str) -> DashboardLink:
    """Return the link to a service's log lines of the time shown."""
    url = f"/d/{LOGS_UID}?var-service={service}&${{__url_time_range}}"
    return DashboardLink(f"Logs of {service}").type(DashboardLinkType.LINK).url(url)


def one_panel(builder: Builder[Panel]) -> Panel:
    """Build a panel, its queries named A, B, C, …"""
    panel = builder.build()
    for letter, target in zip("ABCDEFGHIJ", panel.targets or (), strict=False):
        if hasattr(target, "data"):
            target.data["refId"] = letter
        else:
            target.ref_id = letter  # type: ignore[attr-defined]
    return panel

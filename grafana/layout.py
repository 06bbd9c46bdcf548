"""Where panels go: sections of lines that fill the width of 24 cells, so nothing overlaps and no hole is left."""

from collections.abc import Iterator
from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import Dashboard as DashboardBuilder
from grafana_foundation_sdk.builders.dashboard import DashboardLink, Row
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableModel,
)

from grafana.panels import one_panel

WIDTH = 24
TAG = "movierecs"


@dataclass(frozen=True)
class Line:
    """Panels side by side, all of one height and width; their number divides 24."""

    panels: tuple[Builder[Panel], ...]
    height: int


@dataclass(frozen=True)
class Section:
    """A heading and the lines below it."""

    title: str
    lines: tuple[Line, ...]


def line(*panels: Builder[Panel], height: int = 8) -> Line:
    """Put charts or tables side by side.

    Raises:
        ValueError: so many panels of one width leave a hole.
    """
    if WIDTH % len(panels):
        raise ValueError(f"{len(panels)} panels of one width do not fill a line")
    return Line(panels, height)


def numbers(*panels: Builder[Panel]) -> Line:
    """Put single numbers side by side, in a low line."""
    return line(*panels, height=4)


def section(title: str, *lines: Line) -> Section:
    """Put lines below a heading."""
    return Section(title, lines)


def compose(
    uid: str, title: str, description: str, *sections: Section, variables: tuple[Builder[VariableModel], ...] = ()
) -> Dashboard:
    """Return the dashboard, its panels placed from top to bottom and numbered from 1."""
    builder = DashboardBuilder(title).uid(uid).description(description).tags([TAG]).timezone("browser").readonly()
    builder.time("now-1h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR)
    for variable in variables:
        builder.with_variable(variable)
    others = DashboardLink("Dashboards").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    builder.link(others.as_dropdown(True).keep_time(True))
    dashboard = builder.build()
    dashboard.panels = list(_placed(sections))
    for number, panel in enumerate(dashboard.panels, 1):
        panel.id_val = number
    return dashboard


def _placed(sections: tuple[Section, ...]) -> Iterator[Panel | RowPanel]:
    y = 0
    for part in sections:
        heading = Row(part.title).build()
        heading.grid_pos = GridPos(x=0, y=y, w=WIDTH, h=1)
        heading.collapsed = False
        yield heading
        y += 1
        for row in part.lines:
            width = WIDTH // len(row.panels)
            for place, builder in enumerate(row.panels):
                panel = one_panel(builder)
                panel.grid_pos = GridPos(x=place * width, y=y, w=width, h=row.height)
                yield panel
            y += row.height

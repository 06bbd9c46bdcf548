"""Every cell of the grid down to a dashboard's end belongs to exactly one panel."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.builders.text import Panel as Text

from grafana.layout import compose, line, numbers, section
from tests.unit.grafana.committed import DASHBOARDS, NAMES


def cells(panel: dict[str, Any]) -> Iterator[tuple[int, int]]:
    at = panel["gridPos"]
    for x in range(at["x"], at["x"] + at["w"]):
        for y in range(at["y"], at["y"] + at["h"]):
            yield x, y


@pytest.mark.parametrize("name", NAMES)
def test_panels_neither_overlap_nor_leave_holes(name: str) -> None:
    taken = Counter(cell for panel in DASHBOARDS[name]["panels"] for cell in cells(panel))
    height = max(y for _, y in taken) + 1
    assert taken == Counter((x, y) for x in range(24) for y in range(height))


@pytest.mark.parametrize("name", NAMES)
def test_every_heading_has_panels_below_it(name: str) -> None:
    kinds = [panel["type"] for panel in DASHBOARDS[name]["panels"]]
    assert kinds[0] == "row"
    assert ("row", "row") not in set(zip(kinds, [*kinds[1:], "row"], strict=True))


def test_lines_follow_each_other_downwards() -> None:
    dashboard = compose(
        "uid", "title", "text",
        section("first", numbers(Text(), Text()), line(Text(), height=10)),
        section("second", line(Text(), Text(), Text())),
    )  # fmt: skip
    assert dashboard.panels
    places = [(p.grid_pos.x, p.grid_pos.y, p.grid_pos.w, p.grid_pos.h) for p in dashboard.panels if p.grid_pos]
    assert places == [
        (0, 0, 24, 1), (0, 1, 12, 4), (12, 1, 12, 4), (0, 5, 24, 10),
        (0, 15, 24, 1), (0, 16, 8, 8), (8, 16, 8, 8), (16, 16, 8, 8),
    ]  # fmt: skip


def test_panels_that_cannot_fill_a_line_are_refused() -> None:
    with pytest.raises(ValueError, match="5 panels"):
        line(*[Text()] * 5)

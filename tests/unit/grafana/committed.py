"""The dashboards as they are committed, read back."""

import json
from typing import Any

from grafana.generate import FOLDER
from grafana.queries import Target, targets_of

DASHBOARDS: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
NAMES = tuple(DASHBOARDS)


def panels(name: str) -> list[dict[str, Any]]:
    """A dashboard's panels without its headings."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def targets(datasource: str) -> list[Target]:
    """Every query of a type of data source."""
    found = [t for dashboard in DASHBOARDS.values() for t in targets_of(dashboard) if t.datasource == datasource]
    assert found, f"no dashboard asks {datasource}"
    return found


def name_of(target: Target) -> str:
    return f"{target.dashboard}: {target.panel}"

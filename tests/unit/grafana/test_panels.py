"""What every panel must have to be understood by who sees it for the first time."""

import re
from collections import Counter
from typing import Any

import pytest

from grafana.generate import MODULES
from grafana.panels import LOGS_UID
from tests.support.processes import ROOT
from tests.unit.grafana.committed import DASHBOARDS, NAMES, panels

WITHOUT_UNIT = {"table": "columns have units of their own", "logs": "lines are text", "alertlist": "alerts are text"}
WITHOUT_QUERY = {"alertlist": "Grafana asks Prometheus for its rules' state"}
LINK = re.compile(r"/d/(?P<uid>[\w-]+)\?var-(?P<variable>\w+)=")


def each_panel() -> list[Any]:
    return [pytest.param(name, p, id=f"{name}: {p['title']}") for name in NAMES for p in panels(name)]


def test_dashboards_are_seven_and_told_apart_by_uid_and_title() -> None:
    assert len(NAMES) == len(MODULES) == 7
    assert len({d["uid"] for d in DASHBOARDS.values()}) == len({d["title"] for d in DASHBOARDS.values()}) == 7
    assert {d["title"][:2] for d in DASHBOARDS.values()} == {f"{number} " for number in range(1, 8)}


@pytest.mark.parametrize("name", NAMES)
def test_panels_of_a_dashboard_are_told_apart_by_id_and_title(name: str) -> None:
    everything = DASHBOARDS[name]["panels"]
    assert [p["id"] for p in everything] == list(range(1, len(everything) + 1))
    assert max(Counter(p["title"] for p in everything).values()) == 1


@pytest.mark.parametrize(("name", "panel"), each_panel())
def test_a_panel_says_what_it_shows_in_which_unit_and_from_where(name: str, panel: dict[str, Any]) -> None:
    assert len(panel["title"]) >= 8
    assert panel["description"].endswith(".")
    assert panel["description"].rstrip(".") != panel["title"]
    if panel["type"] not in WITHOUT_UNIT:
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"]["uid"]
    if panel["type"] not in WITHOUT_QUERY:
        assert panel["targets"]
    for target in panel.get("targets", ()):
        assert target["datasource"] == panel["datasource"]


@pytest.mark.parametrize(("name", "panel"), each_panel())
def test_a_panels_queries_are_told_apart_and_its_columns_are_theirs(name: str, panel: dict[str, Any]) -> None:
    letters = [target["refId"] for target in panel.get("targets", ())]
    assert letters == list("ABCDEFGHIJ")[: len(letters)]
    for found in re.findall(r"Value #([A-Z])", str(panel.get("transformations", ""))):
        assert found in letters


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_is_used_and_what_is_used_can_be_chosen(name: str) -> None:
    offered = {variable["name"] for variable in DASHBOARDS[name].get("templating", {}).get("list", ())}
    queries = " ".join(t.get("expr") or t["rawSql"] for p in panels(name) for t in p.get("targets", ()))
    assert {v for v in re.findall(r"\$(\w+)", queries) if not v.startswith("__")} == offered


def test_links_lead_to_dashboards_and_choices_that_exist() -> None:
    provisioned = (ROOT / "grafana/provisioning/datasources/movierecs.yml").read_text()
    texts = [*map(str, DASHBOARDS.values()), provisioned]
    links = [found for text in texts for found in LINK.finditer(text)]
    assert {link["variable"] for link in links} == {"service", "request", "trace"}
    variables = {d["uid"]: {v["name"] for v in d["templating"]["list"]} for d in DASHBOARDS.values() if d["templating"]}
    for link in links:
        assert link["variable"] in variables[link["uid"]]
    assert LOGS_UID in variables


def test_panels_that_show_one_services_trouble_lead_to_its_logs() -> None:
    assert set(re.findall(r"var-service=(\w+)", str(DASHBOARDS))) == {"inference", "consumer"}

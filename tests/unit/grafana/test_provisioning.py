"""What Grafana is started with: the data sources that dashboards name, and the folder that their files are in."""

import re
from typing import Any

import yaml

from grafana import sources
from grafana.queries import CLICKHOUSE_PLUGIN
from tests.support.processes import ROOT

PROVISIONING = ROOT / "grafana" / "provisioning"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def datasources() -> dict[str, dict[str, Any]]:
    text = (PROVISIONING / "datasources" / "movierecs.yml").read_text()
    return {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}


def test_the_data_sources_are_those_that_dashboards_name() -> None:
    named = {ref.uid: ref.type_val for ref in (sources.PROMETHEUS, sources.LOKI, sources.CLICKHOUSE)}
    assert {uid: source["type"] for uid, source in datasources().items()} == named


def test_every_data_source_is_a_service_of_compose_on_grafanas_networks() -> None:
    reachable = set(COMPOSE["grafana"]["networks"])
    for source in datasources().values():
        host = source["url"].split("//")[1].split(":")[0] if "url" in source else source["jsonData"]["host"]
        assert reachable & set(COMPOSE[host]["networks"]), host


def test_passwords_come_from_grafanas_environment() -> None:
    given = set(COMPOSE["grafana"]["environment"])
    for source in datasources().values():
        for secret in source.get("secureJsonData", {}).values():
            assert secret.startswith("$")
            assert secret[1:] in given


def test_clickhouse_is_asked_as_the_user_that_may_only_read() -> None:
    user = datasources()[sources.CLICKHOUSE.uid or ""]["jsonData"]["username"]
    users = (ROOT / "infra/clickhouse/server/users.xml").read_text()
    assert f"<{user}>" in users


def test_grafana_installs_the_plugin_that_queries_are_written_for() -> None:
    installed = COMPOSE["grafana"]["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]
    assert installed == f"{sources.CLICKHOUSE.type_val}@{CLICKHOUSE_PLUGIN}"


def test_a_traces_and_a_requests_lines_are_found_by_structured_metadata() -> None:
    fields = datasources()[sources.LOKI.uid or ""]["jsonData"]["derivedFields"]
    assert all(field["matcherType"] == "label" for field in fields)
    found = {name for field in fields for name in ("trace_id", "request_id") if matches(field, name)}
    assert found == {"trace_id", "request_id"}
    assert not any(matches(field, other) for field in fields for other in ("service", "parent_trace_id"))
    for field in fields:  # Grafana would take a lone dollar for a variable of its environment
        assert "$" not in re.sub(r"\$\$", "", field["url"] + field["matcherRegex"])


def matches(field: dict[str, Any], name: str) -> bool:
    return re.search(field["matcherRegex"].replace("$$", "$"), name) is not None


def test_dashboards_are_read_where_compose_mounts_them() -> None:
    provider = yaml.safe_load((PROVISIONING / "dashboards" / "movierecs.yml").read_text())["providers"][0]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"


def test_grafana_is_of_the_release_whose_types_the_dashboards_are_made_with() -> None:
    text = (PROVISIONING / "datasources" / "movierecs.yml").read_text()
    said = re.search(r"Grafana (\d+\.\d+), .* version (\S+) of the ClickHouse plugin", text)
    assert said
    assert COMPOSE["grafana"]["image"].startswith(f"grafana/grafana:{said[1]}.")
    assert said[2] == CLICKHOUSE_PLUGIN

"""The files that Compose mounts into images that are not ours, as far as no server is needed to read them."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from infra.local.clickhouse import access
from services.contracts.tables import EVENTS
from tests.support.compose import PORTS, Project
from tests.support.processes import ROOT

CONFIG, USERS = (ROOT / "infra/clickhouse/server" / name for name in ("config.xml", "users.xml"))


def xml(path: Path) -> ET.Element:
    return ET.parse(path).getroot()  # noqa: S314 - our own file


def test_clickhouse_shows_its_metrics_where_prometheus_looks() -> None:
    root = xml(CONFIG)
    assert root.tag == "clickhouse"
    assert f"clickhouse:{root.findtext('prometheus/port')}" in (ROOT / "infra/prometheus/prometheus.yml").read_text()
    assert root.findtext("prometheus/endpoint") == "/metrics"


def test_clickhouses_users_have_passwords_from_the_environment_and_its_default_user_is_gone(project: Project) -> None:
    users = xml(USERS).find("users")
    assert users is not None
    passwords = {
        user.tag: password.get("from_env") for user in users if (password := user.find("password")) is not None
    }
    assert passwords == {
        "movierecs": "CLICKHOUSE_PASSWORD",
        "reader": "CLICKHOUSE_READER_PASSWORD",
        "grafana": "GRAFANA_CLICKHOUSE_PASSWORD",
    }
    assert set(passwords.values()) <= set(project.environment("clickhouse"))
    assert [user.tag for user in users if user.get("remove")] == ["default"]
    url = project.environment("consumer")["CLICKHOUSE_URL"]
    assert url.startswith(f"http://movierecs:{project.secrets['CLICKHOUSE_PASSWORD']}@")


def test_grafana_may_read_the_services_database_and_nothing_else(project: Project) -> None:
    root = xml(USERS)
    profile = root.findtext("users/grafana/profile")
    assert root.findtext(f"profiles/{profile}/readonly") == "2"
    database = project.environment("consumer")["CLICKHOUSE_URL"].rsplit("/", 1)[1]
    assert [query.text for query in root.iterfind("users/grafana/grants/query")] == [f"GRANT SELECT ON {database}.*"]
    assert "." not in EVENTS, "tables are named without a database: the URL says which"


@pytest.mark.parametrize("path", [CONFIG, USERS], ids=lambda path: path.name)
def test_clickhouses_files_are_mounted_where_it_adds_them_to_its_own(project: Project, path: Path) -> None:
    targets = {volume["source"]: volume["target"] for volume in project.services["clickhouse"]["volumes"]}
    folder = "config.d" if path is CONFIG else "users.d"
    assert re.fullmatch(rf"/etc/clickhouse-server/{folder}/\w+\.xml", targets[str(path)])


def test_whoever_reads_configuration_is_started_with_the_path_that_is_mounted(project: Project) -> None:
    for name, option in {"prometheus": "--config.file=", "alertmanager": "--config.file=", "loki": "-config.file=",
                         "statsd-exporter": "--statsd.mapping-config=", "api": "", "alloy": ""}.items():  # fmt: skip
        service = project.services[name]
        mounted = {v["target"]: Path(v["source"]) for v in service["volumes"] if v["type"] == "bind"}
        words = [w.removeprefix(option) for w in service["command"] if w.startswith(option) and "/etc/" in w]
        assert words, name
        for word in words:
            folder = next(t for t in mounted if word.startswith(t))
            assert (mounted[folder] / word.removeprefix(folder).lstrip("/")).is_file(), f"{name}: {word}"


def test_alloy_finds_its_variables_and_loki_and_reads_this_projects_containers(project: Project) -> None:
    text = (ROOT / "infra/alloy/config.alloy").read_text()
    wanted = set(re.findall(r'sys\.env\("(\w+)"\)', text))
    assert wanted == set(project.environment("alloy"))
    assert f"http://loki:{min(PORTS['loki'])}/" in text
    assert f"com.docker.compose.project={project.name}" in text
    hosts = re.findall(r'host\s+= "([^"]+)"', text)
    assert hosts == [f"tcp://docker-socket:{min(PORTS['docker-socket'])}"] * 2
    assert f"-proxyport={min(PORTS['docker-socket'])}" in project.services["docker-socket"]["command"]
    assert "docker-socket" in project.services["alloy"]["depends_on"]


def test_grafana_reaches_its_data_sources_and_finds_its_dashboards(project: Project) -> None:
    provisioning = ROOT / "grafana/provisioning"
    grafana = project.services["grafana"]
    (sources,) = (yaml.safe_load(path.read_text())["datasources"] for path in provisioning.glob("datasources/*.yml"))
    hosts = set()
    for source in sources:
        settings = source["jsonData"]
        address = source.get("url") or f"{settings['protocol']}://{settings['host']}:{settings['port']}"
        host, port = address.removeprefix("http://").split(":")
        hosts.add(host)
        assert int(port) in PORTS[host]
        assert set(project.services[host]["networks"]) & set(grafana["networks"]), host
        assert host in grafana["depends_on"], host
    assert hosts == {"prometheus", "loki", "clickhouse"}
    passwords = re.findall(r"password: \$(\w+)", (provisioning / "datasources/movierecs.yml").read_text())
    assert passwords
    assert set(passwords) <= set(project.environment("grafana"))
    (folders,) = (yaml.safe_load(path.read_text())["providers"] for path in provisioning.glob("dashboards/*.yml"))
    mounted = {volume["target"]: Path(volume["source"]) for volume in grafana["volumes"]}
    for folder in folders:
        assert list(mounted[folder["options"]["path"]].glob("*.json"))
    assert mounted["/etc/grafana/provisioning"] == provisioning


def test_composes_accounts_may_do_what_the_local_ones_may() -> None:
    users = ET.parse(USERS)  # noqa: S314 - our own file
    for role, grants in access.GRANTS.items():
        assert tuple(query.text for query in users.findall(f"users/{role}/grants/query")) == grants
    const = [element.tag for element in users.findall("profiles/default/constraints/")]
    assert tuple(const) == access.UNCHANGEABLE
    assert users.findtext("profiles/reader/readonly") == "2"
    assert {users.findtext(f"profiles/{name}/profile") for name in ("reader", "dashboards")} == {"default"}
    rules = {rule.tag: rule.text for rule in ET.fromstring(access.SERVER_RULES)}  # noqa: S314
    assert rules == {rule.tag: rule.text for rule in ET.parse(CONFIG).findall("access_control_improvements/")}  # noqa: S314

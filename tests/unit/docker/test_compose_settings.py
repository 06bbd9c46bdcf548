"""Every container finds in its environment what its program reads, and nothing that it does not read."""

import importlib
import inspect
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic_settings import BaseSettings

from infra.local.dataset import DatasetSettings
from infra.local.kafka.broker import Broker, server_properties
from services.common.migrations import Settings as MigrationSettings
from services.common.postgres_roles import ROLES
from services.consumer.service import LAST_RESORT_SECONDS
from services.consumer.settings import ConsumerSettings
from tests.support.compose import PORTS, Project
from tests.support.dockerfile import AIRFLOW_DOCKERFILE, image
from tests.support.health_checks import answers
from tests.support.processes import ROOT

SETTINGS = {
    "migrations": ["services.common.migrations"],
    "topics": ["services.consumer.settings"],
    "consumer": ["services.consumer.settings"],
    "inference": ["services.inference.settings"],
    "exporter": ["services.exporter.settings"],
    "probe": ["services.probe.settings"],
    "load": ["services.importer.settings", "services.trainer.settings"],
    "airflow-scheduler": ["services.importer.settings", "services.trainer.settings"],
    "ui": ["ui.settings"],
}
"""Where the settings of each container's programs are."""
ALSO = {
    "load": {name.upper() for name in DatasetSettings.model_fields},
    # The DAG's own.
    "airflow-scheduler": {"INFERENCE_URL"},
}
TRACES = {"OTEL_EXPORTER_OTLP_ENDPOINT"}


def classes(service: str) -> list[type[BaseSettings]]:
    """Return the settings classes that the programs' modules make."""
    modules = [importlib.import_module(name) for name in SETTINGS[service]]
    found = [(c, module) for module in modules for _, c in inspect.getmembers(module, inspect.isclass)]
    return [c for c, module in found if issubclass(c, BaseSettings) and c.__module__ == module.__name__]


@pytest.mark.parametrize("service", SETTINGS)
def test_a_program_starts_with_what_it_is_given(
    project: Project, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in project.environment(service).items():
        monkeypatch.setenv(name, value)
    for settings in classes(service):
        if service == "load" and "landing_dir" in settings.model_fields:
            continue  # the step import-files is the nightly run's
        made = settings()
        if project.is_one_shot(service):
            continue  # serves nobody
        hosts = {name: value for name, value in made if name.endswith("_host")}
        assert set(hosts.values()) <= {"0.0.0.0"}, f"nobody outside of the container reaches {hosts}"  # noqa: S104
        ports = {value for name, value in made if name.endswith("_port")}
        assert ports <= PORTS.get(service, set())


@pytest.mark.parametrize("service", SETTINGS)
def test_a_program_is_given_nothing_that_it_does_not_read(project: Project, service: str) -> None:
    known = {name.upper() for settings in classes(service) for name in settings.model_fields}
    given = {name for name in project.environment(service) if not name.startswith("AIRFLOW__")}
    assert given <= known | ALSO.get(service, set()) | TRACES


CLICKHOUSE = "CLICKHOUSE_PASSWORD"
AIRFLOW = {"AIRFLOW_FERNET_KEY", "AIRFLOW_SECRET_KEY", "AIRFLOW_JWT_SECRET", "AIRFLOW_POSTGRES_PASSWORD"}
SECRETS = {
    "clickhouse": {CLICKHOUSE, "CLICKHOUSE_READER_PASSWORD", "GRAFANA_CLICKHOUSE_PASSWORD"},
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_POSTGRES_PASSWORD"},
    "migrations": {CLICKHOUSE, "POSTGRES_PASSWORD", *(f"{role.upper()}_POSTGRES_PASSWORD" for role in ROLES)},
    "topics": {CLICKHOUSE},
    "consumer": {CLICKHOUSE},
    "load": {CLICKHOUSE, "TRAINER_POSTGRES_PASSWORD"},
    "inference": {CLICKHOUSE, "INFERENCE_POSTGRES_PASSWORD", "ADMIN_API_KEY"},
    "exporter": {"CLICKHOUSE_READER_PASSWORD", "EXPORTER_POSTGRES_PASSWORD"},
    "airflow-init": AIRFLOW | {"AIRFLOW_ADMIN_PASSWORD"},
    "airflow-api-server": AIRFLOW,
    "airflow-dag-processor": AIRFLOW,
    "airflow-triggerer": AIRFLOW,
    # The trainer runs in it.
    "airflow-scheduler": AIRFLOW | {CLICKHOUSE, "TRAINER_POSTGRES_PASSWORD"},
    "grafana": {"GRAFANA_ADMIN_PASSWORD", "GRAFANA_CLICKHOUSE_PASSWORD"},
}


def test_a_container_has_the_secrets_that_it_needs_and_no_other(project: Project) -> None:
    given = {
        service: {
            name
            for name, secret in project.secrets.items()
            if any(secret in value for value in project.environment(service).values())
        }
        for service in project.services
    }
    assert {service: names for service, names in given.items() if names} == SECRETS


def test_nobody_but_the_migrations_works_as_the_owner_of_the_tables(project: Project) -> None:
    owner = project.environment("postgres")["POSTGRES_USER"]
    users = {
        service: urlsplit(value).username
        for service in project.services
        for value in project.environment(service).values()
        if value.startswith("postgresql") and urlsplit(value).path != "/airflow"
    }
    assert users == {
        "migrations": owner,
        "load": "trainer",
        "airflow-scheduler": "trainer",
        "inference": "inference",
        "exporter": "exporter",
    }
    assert set(users.values()) - {owner} == set(ROLES)
    for service in set(users) - {"migrations"}:
        assert "migrations" in project.waits_for(service), f"{service} may start before its role is there"


def test_the_migrations_make_every_role_with_the_password_that_its_service_uses(project: Project) -> None:
    values = {name.lower(): value for name, value in project.environment("migrations").items()}
    passwords = MigrationSettings.model_validate(values).role_passwords
    assert set(passwords) == set(ROLES)
    for service, role in {"load": "trainer", "inference": "inference", "exporter": "exporter"}.items():
        assert urlsplit(project.environment(service)["POSTGRES_DSN"]).password == passwords[role]


def test_the_variable_of_traces_is_one_that_the_services_read() -> None:
    sources = [path.read_text() for path in (ROOT / "services/common").glob("*.py")]
    assert any(name in text for name in TRACES for text in sources)


def test_the_dag_finds_all_its_variables(project: Project) -> None:
    constants = "\n".join(path.read_text() for path in (ROOT / "dags").glob("_*.py"))
    wanted = set(re.findall(r'^([A-Z_]+) = "\1"$', constants, flags=re.MULTILINE))
    assert wanted == {"IMPORTER_COMMAND", "INFERENCE_URL", "TRAINER_COMMAND"}
    in_image = set(image(AIRFLOW_DOCKERFILE).environment)
    assert wanted <= set(project.environment("airflow-scheduler")) | in_image


def test_airflow_knows_every_option_that_it_is_given(project: Project) -> None:
    python = ROOT / ".venv-airflow/bin/python"
    if not python.exists():
        pytest.skip("no Airflow here: run `make setup`")
    script = "import json; from airflow.configuration import conf as c; print(json.dumps(" \
             "{s: list(o['options']) for s, o in c.configuration_description.items()}))"  # fmt: skip
    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True, timeout=120)
    options = json.loads(done.stdout.splitlines()[-1])
    given = {n for s in project.services if s.startswith("airflow") for n in project.environment(s) if "__" in n}
    assert len(given) > 10
    for name in given:
        _, section, option = name.lower().split("__")
        assert option in options[section], name


def test_the_broker_is_set_up_as_the_local_one(project: Project) -> None:
    given = project.environment("kafka")
    local = dict(
        line.split("=", 1)
        for line in server_properties(Broker(Path("/x"), port=9092, controller_port=9093)).splitlines()
    )
    addresses = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs"}
    names = {name: "KAFKA_" + name.upper().replace(".", "_") for name in local}
    assert {n: given.get(names[n]) for n in local if n not in addresses} == {
        n: value for n, value in local.items() if n not in addresses
    }
    assert set(given) == {"KAFKA_HEAP_OPTS", *names.values()}


def test_the_broker_is_of_the_version_that_the_tests_use(project: Project) -> None:
    pom = (ROOT / "infra/local/kafka/pom.xml").read_text()
    version = project.services["kafka"]["image"].partition("@")[0].split(":")[1]
    assert f"<version>{version}</version>" in pom or f">{version}<" in pom


def test_every_address_is_a_port_of_a_service_on_a_network_of_both(project: Project) -> None:
    seen = set()
    for name, service in project.services.items():
        if name == "kafka":
            continue  # what it says of itself
        for variable, value in project.environment(name).items():
            for host, port in re.findall(r"(?:^|[/@,])([a-z][a-z-]+):(\d+)(?=[/,]|$)", value):
                assert host in project.services, f"{name}: {variable}"
                assert int(port) in PORTS[host], f"{name}: {variable}"
                assert set(service["networks"]) & set(project.services[host]["networks"]), f"{name} cannot reach {host}"
                seen.add(host)
    assert {"kafka", "clickhouse", "postgres", "api", "inference", "airflow-api-server"} <= seen


def test_prometheus_reaches_each_of_its_targets(project: Project) -> None:
    config = yaml.safe_load((ROOT / "infra/prometheus/prometheus.yml").read_text())
    targets: set[tuple[str, int]] = set()
    for job in config["scrape_configs"]:
        for static in job.get("static_configs", []):
            targets |= {(host, int(port)) for host, port in (t.split(":") for t in static["targets"])}
        for dns in job.get("dns_sd_configs", []):
            targets |= {(name, dns["port"]) for name in dns["names"]}
    (alerting,) = config["alerting"]["alertmanagers"]
    targets |= {(host, int(port)) for host, port in (t.split(":") for t in alerting["static_configs"][0]["targets"])}
    assert len(targets) >= 10
    for host, port in targets - {("localhost", 9090)}:
        assert port in PORTS[host]
        assert set(project.services[host]["networks"]) & set(project.services["prometheus"]["networks"])


@pytest.mark.parametrize("service", ["inference", "consumer", "exporter", "probe", "ui"])
def test_a_health_check_asks_for_what_the_program_answers(project: Project, service: str) -> None:
    command, python, dash, script = project.services[service]["healthcheck"]["test"]
    assert (command, python, dash) == ("CMD", "python", "-c")
    compile(script, service, "exec")
    (url,) = re.findall(r"http://[^']+", script)
    parts = urlsplit(url)
    assert parts.hostname == "127.0.0.1"
    assert parts.port in PORTS[service]
    assert answers(service, parts.path)


def test_the_other_health_checks_ask_their_own_port(project: Project) -> None:
    for name, service in project.services.items():
        test = " ".join((service.get("healthcheck") or {}).get("test") or [])
        for host, port in re.findall(r"(127\.0\.0\.1|kafka)[:/](\d+)", test):
            own = PORTS.get(name, {8974} if name == "airflow-scheduler" else set())
            assert int(port) in own, f"{name}: {host}:{port}"


def test_the_ui_is_run_as_its_image_would(project: Project) -> None:
    command = image(target="ui", SERVICE="ui").command
    assert project.services["ui"]["command"] == command
    assert "--server.port=8501" in command


def test_a_consumer_has_time_to_store_what_it_holds(project: Project) -> None:
    grace = int(project.services["consumer"]["stop_grace_period"].removesuffix("s"))
    assert grace > ConsumerSettings.model_fields["consumer_stop_seconds"].default + LAST_RESORT_SECONDS


def test_folders_in_the_settings_are_where_the_volumes_are(project: Project) -> None:
    state = project.environment("inference")["REPLICA_STATE_DIR"]
    mounts = {volume["target"]: volume for volume in project.services["inference"]["volumes"]}
    assert not mounts[state].get("read_only"), "a replica keeps nothing to start with while PostgreSQL is away"
    for name in ("load", "inference", "airflow-scheduler"):
        targets = {volume["target"] for volume in project.services[name]["volumes"]}
        environment = project.environment(name)
        assert {value for key, value in environment.items() if key.endswith("_DIR") and value} <= targets

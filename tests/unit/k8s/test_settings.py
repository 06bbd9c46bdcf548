"""Every program finds all that it needs in its environment, and nothing that it does not read."""

import importlib
import inspect
import os
import re
import subprocess
from collections.abc import Iterable

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from services.common import migrations
from services.consumer.service import LAST_RESORT_SECONDS
from services.consumer.settings import ConsumerSettings
from services.exporter.settings import ExporterSettings
from services.importer import settings as importer
from services.inference.settings import InferenceSettings
from services.probe.settings import ProbeSettings
from services.trainer.settings import ForgetSettings, PruneSettings, RegistrySettings, TrainerSettings
from tests.unit.k8s.cluster import Cluster, Container
from tests.unit.k8s.conftest import K8S, ROOT
from ui.settings import UiSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "migrations": migrations.Settings,
    "topics": ConsumerSettings,
    "inference": InferenceSettings,
    "consumer": ConsumerSettings,
    "exporter": ExporterSettings,
    "probe": ProbeSettings,
    "ui": UiSettings,
    "import-files": importer.ImportSettings,
    "forget-files": importer.ForgetSettings,
    "forget": ForgetSettings,
    "run": TrainerSettings,
    "prune": PruneSettings,
    "load": importer.LoadSettings,
    "rollback": RegistrySettings,
}
"""What each container's program reads."""
PORTS = {
    ("inference", "api"): "inference_port",
    ("consumer", "metrics"): "consumer_metrics_port",
    ("exporter", "metrics"): "exporter_port",
    ("probe", "metrics"): "probe_port",
    ("ui", "metrics"): "ui_metrics_port",
}
"""Which setting says where a named port is."""


def variables(classes: Iterable[type[BaseSettings]]) -> set[str]:
    return {name.upper() for settings in classes for name in settings.model_fields}


def known_to(container: Container) -> set[str]:
    """Return every variable that a program of the container's image reads: the trainer's steps share one ConfigMap."""
    module = inspect.getmodule(SETTINGS[container.name])
    classes = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, BaseSettings)]
    return variables(classes)


def settings_of(cluster: Cluster, container: Container, monkeypatch: pytest.MonkeyPatch) -> BaseSettings:
    """Make the program's settings in the environment that Kubernetes gives it."""
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in cluster.environment(container).items():
        monkeypatch.setenv(name, value)
    return SETTINGS[container.name]()


def test_every_program_is_known_here(cluster: Cluster) -> None:
    assert {container.name for container in cluster.containers()} == set(SETTINGS)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_program_starts_with_what_it_is_given(cluster: Cluster, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings_of(cluster, cluster.container(name), monkeypatch)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_a_program_is_given_nothing_that_it_does_not_read(cluster: Cluster, name: str) -> None:
    container = cluster.container(name)
    for_its_argv = set(re.findall(r"\$\((\w+)\)", " ".join(w for c in container.pod.containers() for w in c.argv)))
    assert set(cluster.environment(container)) <= known_to(container) | for_its_argv


def test_a_program_gets_only_the_secrets_that_it_reads(cluster: Cluster) -> None:
    for container in cluster.containers():
        secrets = {e["name"] for e in container.spec.get("env", []) if "secretKeyRef" in e["valueFrom"]}
        assert secrets <= variables([SETTINGS[container.name]]), container.name


def test_what_is_secret_is_in_no_config_map(cluster: Cluster) -> None:
    secret = {
        name.upper()
        for settings in SETTINGS.values()
        for name, field in settings.model_fields.items()
        if field.annotation is SecretStr
    }
    assert {"CLICKHOUSE_URL", "POSTGRES_DSN", "ADMIN_API_KEY"} <= secret
    (stores,) = cluster.of("Secret")
    assert secret <= set(stores["stringData"])
    for config in cluster.of("ConfigMap"):
        assert not secret & set(config["data"]), config["metadata"]["name"]


def test_the_users_secrets_are_ignored_by_git() -> None:
    for overlay in ("example", "mine"):
        path = K8S / "overlays" / overlay / "stores.env"
        assert subprocess.run(["git", "check-ignore", "-q", str(path)], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(("name", "port"), sorted(PORTS))
def test_a_port_is_where_the_program_listens_on_every_address(
    cluster: Cluster, name: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = cluster.container(name)
    settings = settings_of(cluster, container, monkeypatch)
    assert container.ports()[port] == getattr(settings, PORTS[name, port])
    hosts = {field: value for field, value in settings if field.endswith("_host")}
    assert set(hosts.values()) == {"0.0.0.0"}, hosts  # noqa: S104


def test_every_named_port_has_a_setting_or_is_streamlits(cluster: Cluster) -> None:
    named = {(container.name, port) for container in cluster.containers() for port in container.ports()}
    assert named == set(PORTS) | {("ui", "http")}
    assert f"--server.port={cluster.container('ui').ports()['http']}" in cluster.container("ui").argv


def test_whoever_calls_inference_names_its_service_and_port(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = cluster.one("Service", "inference")["spec"]["ports"]
    for name in ("probe", "ui"):
        url = cluster.environment(cluster.container(name))["INFERENCE_URL"]
        assert url == f"http://inference:{port['port']}"


def test_folders_in_the_settings_are_where_the_volumes_are(cluster: Cluster) -> None:
    folders = {"models": "MODEL_DIR", "runs": "RUNS_DIR", "landing": "LANDING_DIR"}
    mounted = set()
    for container in cluster.containers():
        for claim, mount in container.mounts().items():
            if claim in folders:
                mounted.add(claim)
                environment = cluster.environment(container)
                assert environment[folders[claim]] == mount["mountPath"], container.name
    assert mounted == set(folders)


def test_a_consumer_has_time_to_store_what_it_holds(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    container = cluster.container("consumer")
    settings = settings_of(cluster, container, monkeypatch)
    assert isinstance(settings, ConsumerSettings)
    needed = settings.consumer_stop_seconds + LAST_RESORT_SECONDS
    assert container.pod.spec["terminationGracePeriodSeconds"] > needed


def test_there_are_never_more_consumers_than_partitions(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(cluster, cluster.container("topics"), monkeypatch)
    assert isinstance(settings, ConsumerSettings)
    (scaled,) = cluster.of("ScaledObject")
    assert scaled["spec"]["maxReplicaCount"] == settings.events_partitions
    assert (
        1 <= scaled["spec"]["minReplicaCount"] <= scaled["spec"]["fallback"]["replicas"] <= settings.events_partitions
    )


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_module_that_is_run_exists(cluster: Cluster, name: str) -> None:
    module = cluster.container(name).module
    found = importlib.util.find_spec(module)
    assert found is not None
    if found.submodule_search_locations is not None:
        assert importlib.util.find_spec(f"{module}.__main__") is not None

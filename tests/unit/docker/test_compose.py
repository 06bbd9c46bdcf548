"""docker-compose.yml keeps its promises: what is open, what is secret, what waits for what, what may be used up."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.support.compose import COMPOSE, Project, load
from tests.support.dockerfile import AIRFLOW_DOCKERFILE, DOCKERFILE
from tests.support.processes import ROOT

SCALABLE = {"inference", "consumer"}
PUBLISHED = {"ui": 8501, "api": 8000, "airflow-api-server": 8080, "grafana": 3000, "prometheus": 9090}
BY_TAG_ALONE = {"prom/statsd-exporter:v0.31.0", "grafana/grafana:12.4.4"}
"""Images without a digest that at least two public sources agree on."""
NOT_READ_ONLY = {"kafka", "airflow-init", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor",
                 "airflow-triggerer"}  # fmt: skip
"""Images that write their own configuration into themselves when they start."""
STORES = {"kafka", "clickhouse", "postgres"}
EXAMPLE = dotenv_values(ROOT / ".env.example")
SECRETS = sorted(name for name, value in EXAMPLE.items() if str(value).startswith("GENERATED"))


def test_only_what_people_use_is_published_and_on_this_machine_alone(project: Project) -> None:
    ports = {name: service["ports"] for name, service in project.services.items() if service.get("ports")}
    assert {name: [p["target"] for p in published] for name, published in ports.items()} == {
        name: [port] for name, port in PUBLISHED.items()
    }
    assert {p["host_ip"] for published in ports.values() for p in published} == {"127.0.0.1"}
    assert not SCALABLE & set(ports)


def test_published_ports_are_those_of_the_local_stack_and_the_settings_move_them(project: Project) -> None:
    variables = {"ui": "UI_PORT", "api": "INFERENCE_PORT", "airflow-api-server": "AIRFLOW_PORT",
                 "grafana": "GRAFANA_PORT", "prometheus": "PROMETHEUS_PORT"}  # fmt: skip
    for name, variable in variables.items():
        (port,) = project.services[name]["ports"]
        assert port["published"] == EXAMPLE[variable]
        assert f"${{{variable}:-{EXAMPLE[variable]}}}" in COMPOSE.read_text()


def test_nothing_is_named_so_that_it_could_not_be_scaled(project: Project) -> None:
    assert not [name for name, service in project.services.items() if "container_name" in service]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_missing_secret_stops_compose_with_what_to_do(
    secret: str, project: Project, env_file: Path, tmp_path: Path
) -> None:
    lines = [line for line in env_file.read_text().splitlines() if not line.startswith(f"{secret}=")]
    for text in ("\n".join(lines), "\n".join([*lines, f"{secret}="])):
        (tmp_path / ".env").write_text(text + "\n")
        done = load(tmp_path / ".env")
        assert done.returncode == 1
        assert f"required variable {secret} is missing a value: run `make env`" in done.stderr


def test_whatever_is_secret_comes_from_the_env_file(project: Project) -> None:
    telling = re.compile(r"PASSWORD|SECRET|KEY|DSN|SQL_ALCHEMY|CLICKHOUSE_URL")
    seen = set()
    for name in project.services:
        for variable, value in project.environment(name).items():
            if telling.search(variable):
                used = {secret for secret, text in project.secrets.items() if text in value}
                assert used, f"{name}: {variable} is written down"
                seen |= used
    assert seen == set(project.secrets)


def test_every_variable_of_the_file_is_in_the_example_or_explained_in_a_readme() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)[:}]", COMPOSE.read_text()))
    documents = "".join(
        (ROOT / name).read_text() for name in ("infra/README.md", "infra/docker/README.md", "grafana/README.md")
    )
    explained = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", documents, flags=re.MULTILINE))
    assert used <= set(EXAMPLE) | explained


def test_images_are_pinned_and_each_of_ours_is_built_once(project: Project) -> None:
    builders: dict[str, list[str]] = {}
    for name, service in project.services.items():
        image = service["image"]
        if image.startswith("movierecs/"):
            builders.setdefault(image, [])
            if "build" in service:
                builders[image].append(name)
                assert service["build"]["dockerfile"] in {
                    str(f.relative_to(ROOT)) for f in (DOCKERFILE, AIRFLOW_DOCKERFILE)
                }
            else:
                # Nobody's registry has it: not to be pulled while another service builds it.
                assert service["pull_policy"] == "never"
        else:
            tagged, _, digest = image.partition("@sha256:")
            assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+(\.\d+)?(-[a-z0-9-]+)?", tagged), image
            assert re.fullmatch(r"[0-9a-f]{64}", digest) or tagged in BY_TAG_ALONE, image
            assert not (digest and tagged in BY_TAG_ALONE), f"{image} has a digest now"
    assert {image: len(names) for image, names in builders.items()} == dict.fromkeys(builders, 1)


def test_a_service_that_runs_an_image_of_another_starts_after_it(project: Project) -> None:
    builder = {s["image"]: name for name, s in project.services.items() if "build" in s}
    for name, service in project.services.items():
        if service["image"] in builder and "build" not in service:
            assert builder[service["image"]] in project.waits_for(name)


def test_one_shots_are_waited_for_to_their_end_and_the_others_until_they_are_healthy(project: Project) -> None:
    assert project.one_shots == {"migrations", "topics", "load", "airflow-init"}
    for name, service in project.services.items():
        for other, how in (service.get("depends_on") or {}).items():
            wanted = "service_completed_successfully" if project.is_one_shot(other) else "service_healthy"
            assert how["condition"] == wanted, f"{name} waits for {other}"


def test_everything_that_goes_on_running_has_a_health_check_and_starts_again(project: Project) -> None:
    for name, service in project.services.items():
        if project.is_one_shot(name):
            assert "healthcheck" not in service
            continue
        assert service["restart"] == "unless-stopped"
        check = service["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= set(check), name


def test_nobody_uses_up_the_machine(project: Project) -> None:
    for name, service in project.services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "20m", "max-file": "5"}}, name


def test_nobody_has_more_rights_than_needed(project: Project) -> None:
    for name, service in project.services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
    assert {name for name, service in project.services.items() if not service.get("read_only")} == NOT_READ_ONLY
    extra = {name: service["cap_add"] for name, service in project.services.items() if service.get("cap_add")}
    assert set(extra) == {"postgres"}


def test_the_stores_are_reached_by_those_who_work_with_them_and_have_no_way_out(project: Project) -> None:
    assert project.networks["stores"]["internal"] is True
    for store in STORES:
        assert set(project.services[store]["networks"]) == {"stores"}
    without = {name for name, service in project.services.items() if "stores" not in service["networks"]}
    assert {"ui", "api", "probe", "loki", "alloy", "alertmanager", "statsd-exporter", "docker-socket"} == without


def test_dockers_socket_is_behind_a_proxy_that_alloy_alone_reaches(project: Project) -> None:
    with_socket = {
        name
        for name, service in project.services.items()
        for volume in service.get("volumes") or []
        if volume["source"].endswith("docker.sock")
    }
    assert with_socket == {"docker-socket"}
    assert project.networks["docker"]["internal"] is True
    on_network = {name for name, service in project.services.items() if "docker" in service["networks"]}
    assert on_network == {"docker-socket", "alloy"}
    assert set(project.services["docker-socket"]["networks"]) == {"docker"}
    assert "-allowfrom=alloy" in project.services["docker-socket"]["command"]


ID = "4c01db0b339c" + "0" * 52


@pytest.mark.parametrize(
    ("method", "path", "passes"),
    [
        ("HEAD", "/_ping", True),
        ("GET", "/v1.47/_ping", True),
        ("GET", "/v1.47/containers/json", True),
        ("GET", f"/v1.47/containers/{ID}/json", True),
        ("GET", f"/v1.47/containers/{ID}/logs", True),
        ("GET", "/v1.47/networks", True),
        ("POST", "/v1.47/containers/create", False),
        ("POST", f"/v1.47/containers/{ID}/exec", False),
        ("DELETE", f"/v1.47/containers/{ID}", False),
        ("GET", f"/v1.47/containers/{ID}/archive", False),
        ("GET", f"/v1.47/containers/{ID}/export", False),
        ("GET", f"/v1.47/containers/{ID}/attach/ws", False),
        ("GET", f"/v1.47/containers/{ID}/../../images/json", False),
        ("GET", "/v1.47/images/json", False),
        ("GET", "/v1.47/secrets", False),
        ("GET", "/v1.47/configs", False),
        ("GET", "/v1.47/volumes", False),
        ("GET", "/v1.47/exec/1/json", False),
        ("GET", "/v1.47/containers/json/x", False),
        ("PUT", f"/v1.47/containers/{ID}/archive", False),
    ],
)
def test_the_proxy_before_docker_lets_containers_and_logs_be_read_and_nothing_else(
    project: Project, method: str, path: str, passes: bool
) -> None:
    allowed = dict(re.findall(r"-allow([A-Z]+)=(\S+)", "\n".join(project.services["docker-socket"]["command"])))
    assert set(allowed) == {"GET", "HEAD"}
    # The proxy puts ^ and $ around the pattern.
    assert bool(method in allowed and re.fullmatch(allowed[method], path)) is passes


def test_whatever_is_mounted_is_there_and_what_is_ours_cannot_be_changed(project: Project) -> None:
    for name, service in project.services.items():
        for volume in service.get("volumes") or []:
            if volume["type"] == "bind":
                source = Path(volume["source"])
                assert volume["read_only"], f"{name} could write {source}"
                if source.is_relative_to(ROOT):
                    assert source.exists(), f"{name} mounts {source}"


def test_the_models_are_written_by_the_trainer_and_read_by_the_api(project: Project) -> None:
    mounts = {
        name: bool(volume.get("read_only"))
        for name, service in project.services.items()
        for volume in service.get("volumes") or []
        if volume.get("source") == "models"
    }
    assert mounts == {"load": False, "airflow-scheduler": False, "inference": True}
    # One id writes and reads them: that of the services' images.
    assert project.services["airflow-scheduler"]["user"].startswith("10001:")
    assert not project.services["load"].get("user")


def test_ending_takes_as_long_as_it_may(project: Project) -> None:
    consumer, inference = (project.services[name]["stop_grace_period"] for name in ("consumer", "inference"))
    assert (consumer, inference) == ("30s", "1m0s")
    # As process 1 a program without a handler would ignore TERM.
    assert all(project.services[name]["init"] for name in ("consumer", "inference", "exporter", "probe", "ui"))

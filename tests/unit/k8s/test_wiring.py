"""Objects find one another: selectors, ports, targets, references, and what a release needs first."""

import re
from types import ModuleType
from urllib.parse import urlsplit

import pytest
from fastapi.routing import APIRoute

from services.common.step_command import ExitStatus
from services.importer import __main__ as importer
from services.inference.http.dependencies import AdminOnly
from services.inference.http.routes import events, health, items, models, users
from services.trainer import __main__ as trainer
from tests.support.health_checks import answers
from tests.unit.k8s.cluster import Cluster, Object

SERVING = ("inference", "consumer", "exporter", "probe", "ui")
DEFAULT_PORTS = {"http": 8123, "https": 8443, "postgresql": 5432}


def test_deployments_select_their_own_pods_and_no_others(cluster: Cluster) -> None:
    deployments = cluster.of("Deployment")
    assert sorted(d["metadata"]["name"] for d in deployments) == sorted(SERVING)
    for deployment in deployments:
        assert [pod.owner for pod in cluster.selected(deployment["spec"]["selector"])] == [deployment]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_services_and_budgets_mean_the_pods_of_one_deployment(cluster: Cluster, kind: str) -> None:
    for o in cluster.of(kind):
        selector = o["spec"]["selector"]
        (pod,) = cluster.selected(selector if "matchLabels" in selector else {"matchLabels": selector})
        assert pod.name == o["metadata"]["name"]
        for port in o["spec"].get("ports", []):
            assert port["targetPort"] in pod.ports()


def test_autoscalers_scale_deployments_that_leave_them_the_number(cluster: Cluster) -> None:
    (by_cpu,), (by_lag,) = cluster.of("HorizontalPodAutoscaler"), cluster.of("ScaledObject")
    targets = {by_cpu["spec"]["scaleTargetRef"]["name"], by_lag["spec"]["scaleTargetRef"]["name"]}
    assert targets == {"inference", "consumer"}
    for name in targets:
        deployment = cluster.one("Deployment", name)
        assert "replicas" not in deployment["spec"], f"{name}: applying it again would undo the autoscaler's work"
        assert cluster.one("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
    # Percent of what is requested: without a request there is nothing to compare with.
    (metric,) = by_cpu["spec"]["metrics"]
    assert metric["resource"]["name"] in cluster.container("inference").spec["resources"]["requests"]


def test_network_policies_mean_pods_and_ports_that_exist(cluster: Cluster) -> None:
    for policy in cluster.of("NetworkPolicy"):
        spec, name = policy["spec"], policy["metadata"]["name"]
        targets = cluster.selected(spec["podSelector"])
        assert targets, name
        for rule in spec.get("ingress", []):
            assert_ports_exist(rule, {port for pod in targets for port in pod.ports()}, name)
        for rule in [*spec.get("ingress", []), *spec.get("egress", [])]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    peers = cluster.selected(peer["podSelector"])
                    assert peers, name
                    if "to" in rule:
                        assert_ports_exist(rule, {port for pod in peers for port in pod.ports()}, name)


def assert_ports_exist(rule: Object, there: set[str], policy: str) -> None:
    for port in rule["ports"]:
        assert port["port"] in there, f"{policy}: no pod has a port {port['port']}"


STORES = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "clickhouse": "CLICKHOUSE_URL", "postgres": "POSTGRES_DSN"}


@pytest.mark.parametrize("store", STORES)
def test_who_uses_a_store_may_reach_it_and_nobody_else(cluster: Cluster, store: str) -> None:
    policy = cluster.one("NetworkPolicy", f"to-{store}")["spec"]
    (rule,) = policy["egress"]
    users = [c for c in cluster.containers() if STORES[store] in cluster.environment(c)]
    assert {pod.name for pod in cluster.selected(policy["podSelector"])} == {c.pod.name for c in users}
    needed = set().union(*(ports_of(cluster.environment(c)[STORES[store]]) for c in users))
    assert {port["port"] for port in rule["ports"]} == needed


def ports_of(address: str) -> set[int]:
    if "://" not in address:
        return {int(broker.rsplit(":", 1)[1]) for broker in address.split(",")}
    url = urlsplit(address)
    return {url.port or DEFAULT_PORTS[url.scheme]}


def test_everything_that_a_pod_refers_to_is_there(cluster: Cluster) -> None:
    for pod in cluster.pods():
        for kind, name in pod.references():
            assert cluster.has(kind, name), f"{pod.name}: no {kind} {name}"


def test_the_release_job_can_be_applied_before_everything_else(cluster: Cluster) -> None:
    first = Cluster([o for o in cluster.objects if o["metadata"].get("labels", {}).get("movierecs/phase") == "release"])
    (job,) = first.pods()
    assert [c.argv[2:] for c in job.containers()] == [
        ["services.common.migrations"],
        ["services.consumer", "bootstrap"],
    ]
    for kind, name in job.references():
        assert first.has(kind, name), f"no {kind} {name}"
    assert len(first.of("NetworkPolicy")) >= 3
    assert not first.of("Deployment")


@pytest.mark.parametrize("name", SERVING)
def test_probes_ask_for_what_the_program_answers(cluster: Cluster, name: str) -> None:
    container = cluster.container(name)
    probes = {kind: container.spec[kind] for kind in container.spec if kind.endswith("Probe")}
    assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    for probe in probes.values():
        assert probe["httpGet"]["port"] in container.ports()
        assert answers(name, probe["httpGet"]["path"])
    assert "initialDelaySeconds" not in probes["livenessProbe"], "the startup probe says when it is up"
    patience = {
        kind: p["failureThreshold"] * p["periodSeconds"] for kind, p in probes.items() if "failureThreshold" in p
    }
    assert patience["startupProbe"] >= 60
    assert patience["livenessProbe"] >= 60, "a restart is for what hangs, not for a busy moment"


def test_a_replica_gets_requests_only_when_it_is_ready(cluster: Cluster) -> None:
    inference = cluster.container("inference").spec
    assert inference["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert inference["livenessProbe"]["httpGet"]["path"] == "/health/live"


def test_prometheus_scrapes_every_program_that_serves_under_its_own_name(cluster: Cluster) -> None:
    (monitor,) = cluster.of("PodMonitor")
    ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    selected = cluster.selected(monitor["spec"]["selector"])
    assert {pod.labels[monitor["spec"]["jobLabel"]] for pod in selected if ports & set(pod.ports())} == set(SERVING)
    allowed = {p["port"] for p in cluster.one("NetworkPolicy", "from-prometheus")["spec"]["ingress"][0]["ports"]}
    assert allowed == ports


@pytest.mark.parametrize(
    ("program", "name"),
    [(importer, name) for name in ("import-files", "forget-files", "load")]
    + [(trainer, name) for name in ("forget", "run", "prune", "rollback")],
)
def test_the_importer_and_the_trainer_understand_their_arguments(
    cluster: Cluster, program: ModuleType, name: str
) -> None:
    argv = cluster.container(name).argv
    assert argv[:3] == ["python", "-m", program.__package__]
    options = program.commands().parser.parse_args(argv[3:])
    assert options.name == name


def test_a_run_is_named_after_its_job_and_never_runs_twice_at_once(cluster: Cluster) -> None:
    trainer = cluster.one("CronJob", "trainer")["spec"]
    assert trainer["concurrencyPolicy"] == "Forbid"
    assert trainer["jobTemplate"]["spec"]["podReplacementPolicy"] == "Failed"
    assert trainer["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    run = cluster.container("run")
    (variable,) = [e for e in run.spec["env"] if e["name"] == "RUN_ID"]
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
    assert run.argv[-2:] == ["--run-id", "$(RUN_ID)"]


def test_a_run_is_not_repeated_when_repeating_changes_nothing(cluster: Cluster) -> None:
    rules = cluster.one("CronJob", "trainer")["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    final = {r["onExitCodes"]["containerName"]: r["onExitCodes"]["values"] for r in rules if r["action"] == "FailJob"}
    assert final == {"run": [ExitStatus.USAGE, ExitStatus.GATE_REFUSED, ExitStatus.NOT_ENOUGH_DATA]}
    assert rules[0]["action"] == "Ignore", "a drained node comes first: its pod may end with any status"


def routes_of_the_api() -> list[tuple[str, bool]]:
    """Path and whether it is for viewers' clients: neither metrics nor behind the admin key."""
    found: list[tuple[str, bool]] = []
    for module in (events, health, items, models, users):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            open_to_all = AdminOnly not in route.dependencies and route.path != "/metrics"
            found.append((route.path.format(user_id=42, item_id=7, version="20261121T034500Z-2a3b62b5"), open_to_all))
    return found


def leads_to(cluster: Cluster, name: str, path: str) -> bool:
    """Whether a gateway passes the path on; for a regular expression the whole path must match."""
    (rule,) = cluster.one("HTTPRoute", name)["spec"]["rules"]
    for match in rule["matches"]:
        kind, value = match["path"]["type"], match["path"]["value"]
        pattern = value if kind == "RegularExpression" else re.escape(value) + (".*" if kind == "PathPrefix" else "")
        if re.fullmatch(pattern, path):
            return True
    return False


def test_a_gateway_passes_on_what_viewers_clients_ask_for_and_nothing_else(cluster: Cluster) -> None:
    routes = routes_of_the_api()
    assert sum(not open_to_all for _, open_to_all in routes) >= 5
    for path, open_to_all in routes:
        closed = not open_to_all
        assert leads_to(cluster, "api", path) is not closed, path
        for written in (f"{path}/", f"/{path}", f"/.{path}", f"{path}/x", path.upper()):
            assert not leads_to(cluster, "api", written), written
    for path in ("/metrics", "/v1/users/42", "/v1/users/42/history/../export", "/docs", "/"):
        assert not leads_to(cluster, "api", path), path


def test_a_gateways_routes_lead_to_services_from_the_namespace_that_may_reach_them(cluster: Cluster) -> None:
    (allowed,) = cluster.one("NetworkPolicy", "from-outside")["spec"]["ingress"][0]["from"]
    for route in cluster.of("HTTPRoute"):
        (parent,) = route["spec"]["parentRefs"]
        assert parent["namespace"] == allowed["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in route["spec"]["rules"]:
            (backend,) = rule["backendRefs"]
            assert backend["port"] in {
                port["port"] for port in cluster.one("Service", backend["name"])["spec"]["ports"]
            }
    for host, program in (("api", "inference"), ("ui", "ui")):
        (name,) = cluster.one("HTTPRoute", host)["spec"]["hostnames"]
        assert name in cluster.environment(cluster.container(program))["ALLOWED_HOSTS"].split(",")

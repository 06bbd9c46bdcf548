"""No pod can do more than it must: Kubernetes' level "restricted", and some more."""

from tests.unit.k8s.cluster import Cluster
from tests.unit.k8s.conftest import K8S


def test_the_namespace_refuses_pods_that_are_not_restricted(cluster: Cluster) -> None:
    (namespace,) = cluster.of("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_every_object_is_in_the_namespace(cluster: Cluster) -> None:
    (namespace,) = cluster.of("Namespace")
    for o in cluster.objects:
        if o is not namespace:
            assert o["metadata"]["namespace"] == namespace["metadata"]["name"], o["metadata"]["name"]


def test_no_pod_runs_as_root_or_with_a_token(cluster: Cluster) -> None:
    for pod in cluster.pods():
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] >= 1000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod.spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert cluster.one("ServiceAccount", pod.spec["serviceAccountName"])["automountServiceAccountToken"] is False


def test_no_container_can_write_to_its_image_or_gain_rights(cluster: Cluster) -> None:
    for container in cluster.containers():
        assert container.spec["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container.name


def test_only_the_trainer_writes_models(cluster: Cluster) -> None:
    mounting = {c.name: c.mounts()["models"] for c in cluster.containers() if "models" in c.mounts()}
    assert {name for name, mount in mounting.items() if mount.get("readOnly")} == {"inference"}
    assert set(mounting) == {"inference", "run", "prune", "forget"}


def test_every_container_says_what_it_needs_and_how_much_memory_it_may_take(cluster: Cluster) -> None:
    for container in cluster.containers():
        resources = container.spec["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}, container.name
        assert "memory" in resources["limits"], container.name


def test_every_image_is_of_a_named_release(cluster: Cluster) -> None:
    for container in cluster.containers():
        name, _, tag = container.spec["image"].rpartition(":")
        assert name, f"{container.name}: an image without a tag: the overlay's `images` does not name it"
        assert tag != "latest"
        assert "/movierecs/" in name


def test_no_file_but_the_example_holds_an_address_with_a_password() -> None:
    for path in K8S.rglob("*"):
        if path.is_file() and not path.name.startswith("stores.env") and path.suffix != ".pyc":
            assert "://" not in path.read_text() or "@" not in path.read_text().split("://", 1)[1].split("\n")[0], path


def test_traffic_is_refused_unless_a_policy_allows_it(cluster: Cluster) -> None:
    deny = cluster.one("NetworkPolicy", "deny-all")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

"""No pod can do more than it must: Kubernetes' level "restricted", and some more."""

from ipaddress import ip_network

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


def test_every_container_says_what_it_needs_and_how_much_it_may_take(cluster: Cluster) -> None:
    for container in cluster.containers():
        resources = container.spec["resources"]
        assert set(resources["requests"]) == {"cpu", "memory", "ephemeral-storage"}, container.name
        assert {"memory", "ephemeral-storage"} <= set(resources["limits"]), container.name


def test_what_a_pod_writes_fits_into_what_it_may_take_of_the_nodes_disk(cluster: Cluster) -> None:
    for pod in cluster.pods():
        volumes = sum(mebibytes(v["emptyDir"]["sizeLimit"]) for v in pod.spec.get("volumes", []) if "emptyDir" in v)
        limits = [mebibytes(c.spec["resources"]["limits"]["ephemeral-storage"]) for c in pod.containers()]
        assert volumes < max(limits), f"{pod.name}: evicted before its volumes are full"


def mebibytes(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


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


def test_whatever_leaves_a_pod_goes_to_an_address_and_a_port_that_a_policy_names(cluster: Cluster) -> None:
    for policy in cluster.of("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            name = policy["metadata"]["name"]
            assert rule["ports"], name
            assert rule["to"], name
            for peer in rule["to"]:
                if block := peer.get("ipBlock"):
                    assert ip_network(block["cidr"]).num_addresses <= 2**16, (
                        f"{name}: {block['cidr']} is half the world"
                    )
                else:
                    assert peer.get("podSelector"), name


def test_without_an_overlay_no_store_is_reached(base: Cluster) -> None:
    for store in ("kafka", "clickhouse", "postgres"):
        assert base.one("NetworkPolicy", f"to-{store}")["spec"]["egress"] == []


def test_a_role_that_owns_tables_is_the_releases_alone_and_the_exporter_only_reads(cluster: Cluster) -> None:
    keys: dict[str, set[str]] = {}
    for container in cluster.containers():
        for variable in container.spec.get("env", []):
            if secret := variable["valueFrom"].get("secretKeyRef"):
                keys.setdefault(secret["key"], set()).add(container.name)
    assert keys["POSTGRES_OWNER_DSN"] == keys["CLICKHOUSE_OWNER_URL"] == {"migrations"}
    assert keys["POSTGRES_READER_DSN"] == keys["CLICKHOUSE_READER_URL"] == {"exporter"}
    assert keys["ADMIN_API_KEY"] == {"inference"}
    (stores,) = cluster.of("Secret")
    assert set(stores["stringData"]) == set(keys), "nothing is in the secret that nobody reads"
    users = {key: value.split("://")[1].split(":")[0] for key, value in stores["stringData"].items() if "://" in value}
    assert len({users[key] for key in users if key.startswith("POSTGRES")}) == 3
    assert len({users[key] for key in users if key.startswith("CLICKHOUSE")}) == 3

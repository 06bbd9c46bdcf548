"""What kustomize renders, as the tests ask for it: objects by kind, pods with their containers and environment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Container:
    """A container of a pod, an init container too."""

    pod: "Pod"
    spec: Object

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def argv(self) -> list[str]:
        """What runs in the end: the words behind ``sh -c`` are its own."""
        command: list[str] = self.spec["command"]
        return command[2].split(" || ")[0].split() if command[:2] == ["sh", "-c"] else command

    @property
    def module(self) -> str:
        """The Python module that is run."""
        assert self.argv[:2] == ["python", "-m"], self.argv
        return self.argv[2]

    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.spec.get("ports", [])}

    def mounts(self) -> dict[str, Object]:
        """By the claim or the kind of the volume that is mounted."""
        volumes = {v["name"]: v for v in self.pod.spec.get("volumes", [])}
        found = {}
        for mount in self.spec.get("volumeMounts", []):
            volume = volumes[mount["name"]]
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            found[claim or f"{mount['name']} (empty)"] = mount
        return found


@dataclass(frozen=True)
class Pod:
    """A pod template and whose it is."""

    owner: Object
    labels: Labels
    spec: Object

    @property
    def name(self) -> str:
        return str(self.owner["metadata"]["name"])

    def containers(self) -> list[Container]:
        specs = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        return [Container(self, spec) for spec in specs]

    def ports(self) -> dict[str, int]:
        return {name: port for container in self.containers() for name, port in container.ports().items()}

    def references(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and name of every object that the pod cannot start without."""
        yield "ServiceAccount", self.spec["serviceAccountName"]
        for volume in self.spec.get("volumes", []):
            if claim := volume.get("persistentVolumeClaim"):
                yield "PersistentVolumeClaim", claim["claimName"]
        for container in self.containers():
            for source in container.spec.get("envFrom", []):
                yield "ConfigMap", source["configMapRef"]["name"]
            for variable in container.spec.get("env", []):
                if secret := variable["valueFrom"].get("secretKeyRef"):
                    yield "Secret", secret["name"]


class Cluster:
    """All rendered objects."""

    def __init__(self, objects: list[Object]) -> None:
        self.objects = objects

    def of(self, kind: str) -> list[Object]:
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        """Return the object of that name, or of that name with kustomize's hash behind it."""
        (found,) = [
            o for o in self.of(kind) if name in (o["metadata"]["name"], o["metadata"]["name"].rsplit("-", 1)[0])
        ]
        return found

    def has(self, kind: str, name: str) -> bool:
        return any(o["metadata"]["name"] == name for o in self.of(kind))

    def pods(self) -> list[Pod]:
        found = []
        for o in self.objects:
            spec = o.get("spec", {})
            if o["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if o["kind"] in {"Deployment", "Job", "CronJob"}:
                found.append(Pod(o, spec["template"]["metadata"]["labels"], spec["template"]["spec"]))
        return found

    def pod(self, name: str) -> Pod:
        (found,) = [pod for pod in self.pods() if pod.name == name]
        return found

    def containers(self) -> list[Container]:
        return [container for pod in self.pods() for container in pod.containers()]

    def container(self, name: str) -> Container:
        (found,) = [container for container in self.containers() if container.name == name]
        return found

    def selected(self, selector: Object) -> list[Pod]:
        """Return the pods that a label selector of matchLabels and matchExpressions (In) means."""
        for expression in selector.get("matchExpressions", []):
            assert expression["operator"] == "In"
        return [
            pod
            for pod in self.pods()
            if selector.get("matchLabels", {}).items() <= pod.labels.items()
            and all(pod.labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", []))
        ]

    def environment(self, container: Container) -> dict[str, str]:
        """Return what the container's process finds in its environment, the example's secrets too."""
        found: dict[str, str] = {}
        for source in container.spec.get("envFrom", []):
            (config,) = [o for o in self.of("ConfigMap") if o["metadata"]["name"] == source["configMapRef"]["name"]]
            found |= config["data"]
        for variable in container.spec.get("env", []):
            match variable["valueFrom"]:
                case {"secretKeyRef": {"name": name, "key": key}}:
                    (secret,) = [o for o in self.of("Secret") if o["metadata"]["name"] == name]
                    found[variable["name"]] = secret["stringData"][key]
                case {"fieldRef": _}:
                    found[variable["name"]] = "trainer-29400000"
        return found

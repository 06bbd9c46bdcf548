"""Every object is what the API server takes: Kubernetes' own schemas, and those of what is added to a cluster."""

import json
import subprocess
from pathlib import Path
from typing import Any, cast

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.tools import require_tool
from tests.unit.k8s.cluster import Cluster, Object

OLDEST, NEWEST = "1.35.0", "1.37.0"
"""The releases of Kubernetes that are supported at the time; the preStop sleep needs 1.34."""
CUSTOM = {
    "ScaledObject": ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "HTTPRoute": (
        "sigs.k8s.io/gateway-api@v1.6.3",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "PodMonitor": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
    ),
    "PrometheusRule": (
        "github.com/prometheus-operator/prometheus-operator@v0.85.0",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}
"""Where the definition of a kind that Kubernetes does not have is: Go module and file."""


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_object_of_its_own_kinds(cluster: Cluster, version: str) -> None:
    own = [o for o in cluster.objects if o["kind"] not in CUSTOM]
    assert len(own) > 30
    for o in own:
        kubernetes_validate.validate(o, version, strict=True)


@pytest.mark.parametrize("kind", sorted(CUSTOM))
def test_the_operator_takes_every_object_of_its_kind(cluster: Cluster, kind: str) -> None:
    schema = definition(kind)
    objects = cluster.of(kind)
    assert objects
    for o in objects:
        jsonschema.validate(o, schema)


def definition(kind: str) -> Object:
    """Return the schema of a custom kind, by its author, for the version that our object names; strict."""
    module, file = CUSTOM[kind]
    answer = subprocess.run(
        [require_tool("go"), "mod", "download", "-json", module], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr or answer.stdout
    crd = yaml.safe_load((Path(json.loads(answer.stdout)["Dir"]) / file).read_text())
    (schema,) = [v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["storage"]]
    return cast("Object", strict(schema))


def strict(schema: Any) -> Any:
    """Forbid fields that the schema does not name, as `kubectl apply` does, and write patterns as Python does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(part) for key, part in schema.items()}
    if isinstance(schema.get("pattern"), str):  # Go allows the flags anywhere, Python at the start
        schema["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema

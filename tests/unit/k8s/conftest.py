"""The example overlay, rendered once by the real kustomize."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.tools import require_tool
from tests.unit.k8s.cluster import Cluster

ROOT = Path(__file__).resolve().parents[3]
K8S = ROOT / "infra" / "k8s"


def render(overlay: Path) -> Cluster:
    """Render an overlay; secrets can be read as they were written."""
    done = subprocess.run(
        [require_tool("kustomize"), "build", str(overlay)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    for o in objects:
        if o["kind"] == "Secret":
            o["stringData"] = {key: base64.b64decode(value).decode() for key, value in o.pop("data").items()}
    return Cluster(objects)


@pytest.fixture(scope="session")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of infra/k8s in which the user has done what the example asks for; return the overlay's folder."""
    copy = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(K8S, copy, ignore=shutil.ignore_patterns("stores.env"))
    example = copy / "overlays" / "example"
    shutil.copy(example / "stores.env.example", example / "stores.env")
    return example


@pytest.fixture(scope="session")
def cluster(overlay: Path) -> Cluster:
    return render(overlay)


@pytest.fixture(scope="session")
def base(overlay: Path) -> Cluster:
    """What is there before an overlay says anything."""
    return render(overlay.parents[1] / "base")

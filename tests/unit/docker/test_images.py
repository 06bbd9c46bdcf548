"""The images hold what their programs import, no more and no less, in the versions that the tests run with."""

import ast
import fnmatch
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.support.dockerfile import AIRFLOW_DOCKERFILE, Image, image
from tests.support.processes import ROOT

REQUIREMENTS = ROOT / "infra/requirements"
ENTRIES = {
    "consumer": ["services.consumer.__main__"],
    "exporter": ["services.exporter.__main__"],
    "importer": ["services.importer.__main__"],
    "inference": ["services.inference.__main__"],
    "probe": ["services.probe.__main__"],
    "trainer": ["services.trainer.__main__"],
    "migrations": ["services.common.migrations"],
    "load": ["infra.docker.load", "services.importer.__main__", "services.trainer.__main__"],
    # Streamlit runs the screens by their paths.
    "ui": ["ui.__main__", "ui.app", *(f"ui.screens.{path.stem}" for path in (ROOT / "ui/screens").glob("*.py"))],
}
"""What each image's program imports first."""
OURS = ("services", "ui", "infra")


def built(service: str) -> Image:
    return image(
        target=service if service in {"inference", "trainer", "migrations", "load", "probe", "ui"} else "",
        SERVICE=service,
    )


IMAGES = {**{service: built(service) for service in ENTRIES}, "airflow": image(AIRFLOW_DOCKERFILE)}


def trees(tmp_path: Path, one: Image) -> Path:
    one.lay_out(tmp_path)
    return tmp_path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(tree: Path, module: str) -> Path | None:
    path = tree / module.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def reached(tree: Path, entries: list[str]) -> tuple[set[Path], set[str]]:
    """The files that the entries import, directly or not, and what else they import; imports inside functions too."""
    files: set[Path] = set()
    others: set[str] = set()
    todo = list(entries)
    while todo:
        module = todo.pop()
        path = file_of(tree, module)
        if module.split(".")[0] not in OURS:
            others.add(module.split(".")[0])
        elif path is None:
            # A name inside a module, which was listed beside it.
            assert file_of(tree, module.rpartition(".")[0]), f"{module} is imported, and no such file is copied"
        elif path not in files:
            files.add(path)
            todo += [".".join(module.split(".")[:n]) for n in range(1, module.count(".") + 1)]
            todo += imported(path)
            if path.name == "__init__.py" and path.parent.name == "kinds":  # found by their names
                todo += [f"{module}.{kind.stem}" for kind in path.parent.glob("[a-z]*.py")]
    return files, others - sys.stdlib_module_names


OPTIONAL = {"pyspark", "py4j"}
"""Imported only where the settings ask for them; an environment of their own."""


@cache
def locked(path: Path) -> dict[str, str]:
    """Name → version of a lock file."""
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==(\S+)", path.read_text(), flags=re.MULTILINE))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("service", ENTRIES)
def test_what_a_program_imports_is_copied_and_locked(service: str, tmp_path: Path) -> None:
    tree = trees(tmp_path, IMAGES[service])
    _, others = reached(tree, ENTRIES[service])
    there = {normal(name) for name in locked(IMAGES[service].requirements)}
    distributions = packages_distributions()
    assert others
    for package in others - OPTIONAL:
        names = {normal(name) for name in distributions.get(package, [])}
        assert names & there, f"{service} imports {package}, which no line of its lock file brings"


def test_airflows_image_has_the_importer_and_the_trainer_whole(tmp_path: Path) -> None:
    tree = trees(tmp_path, IMAGES["airflow"])
    _, others = reached(tree, [*ENTRIES["importer"], *ENTRIES["trainer"]])
    assert IMAGES["airflow"].requirements == IMAGES["trainer"].requirements
    assert "rectools" in others
    # The operator runs both in the folder above dags/.
    assert (tree / "dags/retrain_nightly.py").exists()
    assert (tree / "services/importer/__main__.py").exists()
    assert (tree / "services/trainer/__main__.py").exists()


@pytest.mark.parametrize("service", ENTRIES)
def test_nothing_is_copied_that_no_program_needs(service: str, tmp_path: Path) -> None:
    tree = trees(tmp_path, IMAGES[service])
    files, _ = reached(tree, ENTRIES[service])
    folders = {path.parent for path in tree.rglob("*.py")} - {tree / "services/common", tree / "services"}
    assert folders <= {path.parent for path in files}


@pytest.mark.parametrize("service", ENTRIES)
def test_what_a_service_requires_by_itself_it_imports(service: str, tmp_path: Path) -> None:
    _, others = reached(trees(tmp_path, IMAGES[service]), ENTRIES[service])
    distributions = packages_distributions()
    provided = {normal(name) for package in others for name in distributions.get(package, [])}
    lines = (REQUIREMENTS / f"{service}.in").read_text().splitlines()
    own = {normal(re.split(r"[\[=~<>]", line)[0]) for line in lines if line and not line.startswith(("#", "-r"))}
    # Streamlit is the program that runs the demo's page; of fastapi-offline the service takes files, no code; pandas
    # writes Markdown with tabulate.
    assert own - {"streamlit", "fastapi-offline", "tabulate"} <= provided


@pytest.mark.parametrize("path", sorted({one.requirements for one in IMAGES.values()}), ids=lambda path: path.stem)
def test_a_lock_file_has_the_versions_of_the_tests_and_a_hash_for_each(path: Path) -> None:
    tested, here = locked(REQUIREMENTS / "dev.txt"), locked(path)
    assert here
    assert {name: tested.get(name) for name in here} == here
    for entry in re.split(r"\n(?=[a-z0-9])", path.read_text().strip()):
        assert "--hash=sha256:" in entry


def test_make_lock_writes_the_lock_file_of_every_image() -> None:
    (images,) = re.findall(r"^IMAGES = (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert set(images.split()) == {one.requirements.stem for one in IMAGES.values()}
    assert {path.stem for path in REQUIREMENTS.glob("*.txt")} == {*images.split(), "dev", "airflow"}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_made_of_a_pinned_one_and_runs_without_rights(name: str) -> None:
    one = IMAGES[name]
    # No two public sources agree on a digest of Airflow's image.
    digest = "" if name == "airflow" else r"@sha256:[0-9a-f]{64}"
    assert re.fullmatch(rf"[a-z/]+:\d+\.\d+\.\d+-[a-z0-9.-]+{digest}", one.base)
    assert one.of("USER")[-1].startswith("10001:")
    # The one system library that a wheel needs and the base lacks: OpenMP's, for LightGBM, where models are trained.
    openmp = "apt-get update && apt-get install --no-install-recommends --yes libgomp1 && rm -rf /var/lib/apt/lists/*"
    trains = name in {"trainer", "load", "airflow"}
    assert [text for text in one.of("RUN") if "curl" in text or "apt-get" in text] == [openmp] * trains


@pytest.mark.parametrize("name", IMAGES)
def test_every_source_of_a_copy_is_there_and_reaches_the_builder(name: str) -> None:
    one = IMAGES[name]
    sources = [source for text in one.of("COPY") if "--from" not in text for source in text.split()[:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert is_sent(source), f"{source} is kept out by .dockerignore"


def is_sent(source: str) -> bool:
    """Whether a file passes .dockerignore: the last line that means it, or a folder above it, decides."""
    above = [source, *(str(parent) for parent in Path(source).parents if str(parent) != ".")]
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and any(fnmatch.fnmatch(path, pattern) for path in above):
            sent = line.startswith("!")
    return sent


@pytest.mark.parametrize("secret", [".env", ".git/config", ".local/data", "infra/k8s/overlays/example/stores.env"])
def test_nothing_secret_reaches_the_builder(secret: str) -> None:
    assert not is_sent(secret)

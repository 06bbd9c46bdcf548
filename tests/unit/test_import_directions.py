"""The architecture, held by a test: imports run one way."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "services/contracts": {"services.contracts"},
    "services/client": {"services.contracts", "services.client"},
    "services/common": {"services.contracts", "services.common"},
    "services/models": {"services.contracts", "services.common", "services.models"},
    "services/inference": {"services.contracts", "services.common", "services.models", "services.inference"},
    "services/consumer": {"services.contracts", "services.common", "services.consumer"},
    "services/exporter": {"services.contracts", "services.common", "services.exporter"},
    "services/probe": {"services.contracts", "services.client", "services.common", "services.probe"},
    "services/importer": {"services.contracts", "services.common", "services.importer"},
    "services/trainer": {"services.contracts", "services.common", "services.models", "services.trainer"},
    "ui": {"services.contracts", "services.client", "ui"},
    "dags": set[str](),
    "infra": {"services.contracts", "services.client", "services.common", "infra"},
}
LAYERS = {
    "services/inference": {
        "history": {"metrics"},
        "catalogue": {"local_state"},
        "models": {"history", "catalogue", "metrics", "local_state"},
        "events": {"history", "metrics"},
        "recommend": {"models", "history", "catalogue", "events", "metrics"},
        "privacy": {"recommend", "history", "local_state"},
        "http": {"recommend", "models", "history", "catalogue", "events", "privacy", "metrics"},
    },
    "services/trainer": {
        "data": set[str](),
        "models": {"data"},
        "engines": {"data", "models"},
        "evaluation": {"data", "models", "engines"},
    },
    "ui": {
        "text": set[str](),
        "state": set[str](),
        "components": {"api", "state", "text"},
        "screens": {"api", "settings", "components", "state", "text"},
    },
}
"""Per folder of a service, or of the demo, what else of it it may import."""


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", ALLOWED)
def test_a_folder_imports_only_what_lies_below_it(folder: str) -> None:
    ours = ("services.", "ui.", "infra.", "dags.", "tests.")
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / folder).rglob("*.py")
        for module in imported_modules(path)
        if module.startswith(ours) and not any(module.startswith(f"{allowed}.") for allowed in ALLOWED[folder])
    ]
    assert wrong == []


@pytest.mark.parametrize(("service", "folder"), [(service, folder) for service in LAYERS for folder in LAYERS[service]])
def test_within_a_service_imports_run_one_way(service: str, folder: str) -> None:
    package = service.replace("/", ".")
    allowed = {folder, *LAYERS[service][folder]}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / service / folder).rglob("*.py")
        for module in imported_modules(path)
        if module.startswith(f"{package}.") and module.removeprefix(f"{package}.").split(".")[0] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "packages"),
    [
        ("services/contracts", {"pydantic", "pydantic_core"}),  # the other half of pydantic: errors are made with it
        ("services/client", {"pydantic", "httpx"}),
    ],
)
def test_what_every_program_may_import_needs_little_itself(folder: str, packages: set[str]) -> None:
    allowed = packages | {"services"}
    for path in (ROOT / folder).glob("*.py"):
        for module in imported_modules(path):
            top = module.split(".")[0]
            assert top in sys.stdlib_module_names or top in allowed, f"{path.name} imports {module}"


def test_the_inference_service_needs_no_rectools() -> None:
    for path in [*(ROOT / "services/inference").rglob("*.py"), *(ROOT / "services/common").rglob("*.py")]:
        for module in imported_modules(path):
            assert module.split(".")[0] not in {"rectools", "implicit", "pandas", "pickle"}, f"{path} imports {module}"

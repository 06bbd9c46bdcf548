"""The documents and the code say the same: every setting and every Make target is in both, and no link is broken."""

import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

import infra.local
import services
import ui

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "infra/README.md").read_text()
DOCUMENTS = sorted(
    ROOT / name for name in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).splitlines()
)
LINK = re.compile(r"\]\((?!http)([^)]+)\)")
PACKAGES = [services, infra.local, ui]


def all_settings() -> dict[str, type[BaseSettings]]:
    """Every environment variable that a settings class of ours reads, with the class."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "ui.app")) and ".screens" not in module.name:
                importlib.import_module(module.name)
    found: dict[str, type[BaseSettings]] = {}
    todo = list(BaseSettings.__subclasses__())
    while todo:
        model = todo.pop()
        todo += model.__subclasses__()
        if model.__module__.split(".")[0] in {"services", "infra", "ui"}:
            found |= {name.upper(): model for name in model.model_fields}
    return found


def documented_settings() -> set[str]:
    section = SETTINGS.split("## Configuration", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", section, flags=re.MULTILINE))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_every_setting_in_the_code_is_documented_and_the_other_way_round() -> None:
    in_code = set(all_settings()) - {"ROOT"}
    assert in_code == documented_settings()


def test_every_make_target_is_in_the_readme_and_the_other_way_round() -> None:
    assert set(re.findall(r"`make ([a-z-]+)[^`]*`", README)) == make_targets()


def anchors(document: Path) -> set[str]:
    """What a link may name behind the `#`: the document's headings, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_to_a_file_and_a_heading(document: Path) -> None:
    for path, _, anchor in (link.partition("#") for link in LINK.findall(document.read_text())):
        target = document.parent / path if path else document
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_document_is_linked_from_the_readme_or_from_one_that_is() -> None:
    reached, todo = set[Path](), [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        reached.add(document)
        links = {(document.parent / link.partition("#")[0]).resolve() for link in LINK.findall(document.read_text())}
        todo += [link for link in links - reached if link.suffix == ".md"]
    assert reached == set(DOCUMENTS)


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) < 250

"""The README and the code say the same: every setting and every Make target is in both."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

import infra.local
import services
import ui

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
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
    section = README.split("## Configuration", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", section, flags=re.MULTILINE))


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_every_setting_in_the_code_is_in_the_readme_and_the_other_way_round() -> None:
    in_code = set(all_settings()) - {"ROOT"}
    assert in_code == documented_settings()


def test_every_make_target_is_in_the_readme_and_the_other_way_round() -> None:
    assert set(re.findall(r"`make ([a-z-]+)[^`]*`", README)) == make_targets()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http|#)([^)#]+)\)", README))))
def test_every_file_that_the_readme_links_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_heading_that_the_readme_links_is_there() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings

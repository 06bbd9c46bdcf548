"""Reads our Dockerfiles: which steps lead to an image, what they copy, and the same tree made in a folder."""

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import ROOT

DOCKERFILE = ROOT / "infra/docker/Dockerfile"
AIRFLOW_DOCKERFILE = ROOT / "infra/docker/airflow.Dockerfile"


@dataclass(frozen=True)
class Step:
    """One instruction, its build arguments filled in."""

    name: str
    text: str


@dataclass(frozen=True)
class Copy:
    """A COPY from the build's context."""

    sources: tuple[str, ...]
    target: str


@dataclass
class Stage:
    """One FROM and what follows it. ``base`` is another stage's name or an image."""

    base: str
    steps: list[Step] = field(default_factory=list)


@dataclass(frozen=True)
class Image:
    """What a build with one target and one set of arguments does, stages that it copies from included."""

    base: str
    steps: list[Step]

    def of(self, name: str) -> list[str]:
        """The texts of all instructions of that name."""
        return [step.text for step in self.steps if step.name == name]

    @property
    def copies(self) -> list[Copy]:
        """What comes out of the context, but for what pip reads."""
        words = [text.split() for text in self.of("COPY") if not text.startswith("--from=")]
        return [Copy(tuple(line[:-1]), line[-1]) for line in words if not line[-1].startswith("/tmp/")]

    @property
    def requirements(self) -> Path:
        """The lock file that pip installs."""
        (path,) = [text.split()[0] for text in self.of("COPY") if text.endswith(" /tmp/requirements.txt")]
        return ROOT / path

    @property
    def environment(self) -> dict[str, str]:
        """Its ENV."""
        pairs = (pair for text in self.of("ENV") for pair in re.findall(r'(\w+)=("[^"]*"|\S+)', text))
        return {name: value.strip('"') for name, value in pairs}

    @property
    def command(self) -> list[str]:
        """The last CMD."""
        return list(json.loads(self.of("CMD")[-1]))

    def lay_out(self, folder: Path) -> None:
        """Make the tree that the image has in its working folder."""
        for copy in self.copies:
            for source in copy.sources:
                wanted, target = ROOT / source, folder / copy.target
                if wanted.is_dir():
                    shutil.copytree(wanted, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    target = target / wanted.name if copy.target.endswith("/") else target
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(wanted, target)


def image(dockerfile: Path = DOCKERFILE, target: str = "", **arguments: str) -> Image:
    """What ``docker build --target … --build-arg …`` would do."""
    stages = _stages(dockerfile, arguments)
    name = target or list(stages)[-1]
    chain: list[Step] = []
    while name in stages:
        chain = stages[name].steps + chain
        base = name = stages[name].base
    from_others = [
        step
        for other in re.findall(r"--from=(\S+)", "\n".join(s.text for s in chain) or "")
        for step in stages[other].steps
    ]
    return Image(base, from_others + chain)


def _stages(dockerfile: Path, arguments: dict[str, str]) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    values = dict(arguments)
    stage: Stage | None = None
    for name, text in _instructions(dockerfile.read_text()):
        filled = re.sub(r"\$\{(\w+)\}", lambda m: values.get(m[1], m[0]), text) if name != "CMD" else text
        if name == "ARG":
            key, _, default = filled.partition("=")
            if default:
                values.setdefault(key, default)
        elif name == "FROM":
            base, _, alias = filled.partition(" AS ")
            stage = stages[alias or f"stage-{len(stages)}"] = Stage(base)
        elif stage is not None:
            stage.steps.append(Step(name, filled))
    return stages


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]

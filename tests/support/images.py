"""An image's Python part without Docker: its own pip steps in a clean prefix, and a folder with just what it copies."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.dockerfile import Image
from tests.support.processes import ServiceProcess


@dataclass
class Prefix:
    """What `docker build` makes of an image, below `folder`; programs that run in it see nothing of the project."""

    name: str
    image: Image
    folder: Path

    @property
    def app(self) -> Path:
        """The image's working folder."""
        return self.folder / "app"

    def build(self) -> "Prefix":
        """Copy, and run every step of the Dockerfile that is about Python. AssertionError with what pip said."""
        python = self.folder / "bin/python"
        python.parent.mkdir(parents=True)
        python.symlink_to(Path(sys.base_prefix) / "bin/python3.11")
        self.image.lay_out(self.app)
        steps = [step for step in self.image.of("RUN") if "python -m" in step]
        assert [" -m venv " in step for step in steps] == [True, False], steps
        for step in steps:
            # The cache only saves the second run its downloads.
            command = self._here(step).replace("--no-cache-dir ", "")
            done = subprocess.run(
                ["/bin/sh", "-euc", command], capture_output=True, text=True, timeout=1200, check=False,
                env={**_outside(), "PATH": f"{python.parent}:/usr/bin:/bin"},
            )  # fmt: skip
            assert done.returncode == 0, f"{self.name}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return self

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The image's ENV and what the container is given, nothing else."""
        own = {
            name: self._here(value).replace("$PATH", "/usr/bin:/bin") for name, value in self.image.environment.items()
        }
        return {"HOME": str(self.folder), "PATH": "/usr/bin:/bin", **_outside(), **own, **given}

    def argv(self, command: Sequence[str], given: Mapping[str, str]) -> list[str]:
        """An argv that becomes the command in this image's folder and environment alone."""
        pairs = [f"{name}={value}" for name, value in self.environment(given).items()]
        return ["/usr/bin/env", "-i", f"--chdir={self.app}", *pairs, *command]

    def run(self, command: Sequence[str], given: Mapping[str, str], timeout: float = 300) -> str:
        """Run a one-shot to its end; its standard output."""
        argv = self.argv(command, given)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"{self.name}: {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def service(self, command: Sequence[str], given: Mapping[str, str]) -> ServiceProcess:
        """The container's process, not started yet."""
        return ServiceProcess(self.name, self.argv(command, given), self.folder / "log")

    def is_healthy(self, check: Sequence[str], given: Mapping[str, str]) -> bool:
        """Run a Compose health check's command."""
        assert check[0] == "CMD"
        argv = self.argv(check[1:], given)
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0

    def _here(self, text: str) -> str:
        return text.replace("/tmp/requirements.txt", str(self.image.requirements)).replace(
            "/opt/", f"{self.folder}/opt/"
        )


def _outside() -> dict[str, str]:
    """How this machine reaches the package index."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("PIP_", "SSL_", "REQUESTS_")) or "_proxy" in name.lower()
    }

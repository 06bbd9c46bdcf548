"""The programs that tests run and pip does not have: ``python -m tests.support.tools`` gets those that are missing.

They go to ``.local/tools/bin``. Debian's packages are unpacked there rather than installed, so that no package
starts a daemon; only Chromium, which needs many libraries, is installed, and by root alone. What cannot be had is
said together with how to get it; the tests that need it are skipped then, and fail where CI is set.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.tools import TOOLS, with_tools
from tests.support.processes import ROOT

HINT = "python -m tests.support.tools"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEBIAN = {
    "prometheus": ("usr/bin/prometheus", "usr/bin/promtool"),
    "prometheus-alertmanager": ("usr/bin/amtool", "usr/bin/prometheus-alertmanager"),
    "nginx": ("usr/sbin/nginx",),
}
"""What is taken out of which package."""


@dataclass(frozen=True)
class GoTool:
    """A program built by Go: ``source`` is ``module@version``, or a folder of this repository with a go.mod."""

    name: str
    source: str

    @property
    def is_ours(self) -> bool:
        return "@" not in self.source


GO_TOOLS = (
    GoTool("statsd_exporter", "github.com/prometheus/statsd_exporter@v0.31.0"),
    GoTool("kustomize", "sigs.k8s.io/kustomize/kustomize/v5@v5.8.2"),
    GoTool("alloy_check", "tests/support/alloy_check"),
    GoTool("compose_check", "tests/support/compose_check"),
)


class ToolError(RuntimeError):
    """A tool could not be got; the message is the failed command's own."""


def tool(name: str) -> Path | None:
    """The program of that name: the one got here, else the one on the PATH, else None."""
    found = shutil.which(name, path=with_tools(os.environ.get("PATH", os.defpath)))
    return Path(found) if found else None


def require_tool(name: str) -> str:
    """The program's path for a test that cannot do without; otherwise skips the test, or fails it where CI is set."""
    found = tool(name)
    if found is None:
        reason = f"there is no {name}; get it with: {HINT}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(found)


def main() -> int:
    """Get what is missing and say what could not be got; only CI, where its tests would fail, stops there."""
    failed = False
    for get in (get_browser, get_debian_packages, get_go_tools):
        try:
            get()
        except ToolError as error:
            print(f"tools: {error}", file=sys.stderr)
            failed = True
    return 1 if failed and os.environ.get("CI") else 0


def get_browser() -> None:
    """Install Chromium where that can be done."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    install = ["apt-get", "install", "--no-install-recommends", "chromium"]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"tools: there is no Chromium for the browser tests; install it with: {' '.join(install)}")
        return
    print("tools: installing Chromium for the browser tests")
    _run("apt-get", "update", "-qq")
    _run(*install, "-y", "-qq")


def get_debian_packages() -> None:
    """Unpack what is missing of Debian's packages."""
    missing = [p for p, files in DEBIAN.items() if any(tool(Path(file).name) is None for file in files)]
    if not missing:
        return
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        print(f"tools: no Debian packages here; put their programs on the PATH yourself: {', '.join(missing)}")
        return
    print(f"tools: unpacking Debian's {', '.join(missing)}")
    if os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run("apt-get", "download", "-qq", *missing, cwd=folder)
        for package in missing:
            (archive,) = folder.glob(f"{package}_*.deb")
            _run("dpkg-deb", "--extract", str(archive), str(folder / package))
            for file in DEBIAN[package]:
                _place(folder / package / file)


def get_go_tools() -> None:
    """Build what has not been built yet of the very version that is pinned."""
    missing = [one for one in GO_TOOLS if not _is_built(one)]
    if not missing:
        return
    if not shutil.which("go"):
        names = ", ".join(one.name for one in missing if tool(one.name) is None)
        if names:
            print(f"tools: there is no Go to build {names} with; see https://go.dev/doc/install")
        return
    for one in missing:
        print(f"tools: building {one.name} from {one.source}")
        with tempfile.TemporaryDirectory() as name:
            built = Path(name) / one.name
            if one.is_ours:
                _run("go", "build", "-buildvcs=false", "-o", str(built), ".", cwd=ROOT / one.source)
            else:
                _run("go", "install", one.source, env={"GOBIN": name})
            _place(built)
        _stamp(one).write_text(_fingerprint(one))


def _is_built(one: GoTool) -> bool:
    """Whether the very version that is pinned has been built here."""
    stamp = _stamp(one)
    return (TOOLS / one.name).exists() and stamp.exists() and stamp.read_text() == _fingerprint(one)


def _stamp(one: GoTool) -> Path:
    return TOOLS.parent / f"{one.name}.source"


def _fingerprint(one: GoTool) -> str:
    if not one.is_ours:
        return one.source
    files = sorted(path for path in (ROOT / one.source).rglob("*") if path.is_file())
    return "\n".join(path.read_text() for path in files)


def _place(program: Path) -> None:
    """Put it in place at once, so that two who get the same tool never see half of one."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    new = TOOLS / f".{program.name}.{os.getpid()}"
    shutil.copy(program, new)
    new.replace(TOOLS / program.name)


def _run(*argv: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"} | (env or {})
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"`{' '.join(argv)}` exited with {done.returncode}: {done.stderr.strip()[-800:]}")


if __name__ == "__main__":
    sys.exit(main())

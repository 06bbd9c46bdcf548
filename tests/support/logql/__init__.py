"""LogQL, checked with the grammar of Grafana's own editor, which is a JavaScript package."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def complaints(queries: list[str]) -> list[list[str]]:
    """Return what the grammar finds wrong with each query: nothing, when it is LogQL.

    The first call installs the grammar as package-lock.json says. Without node, or when it cannot be installed, the
    test is skipped, and fails where CI is set.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        _give_up("node and npm are needed to read LogQL: apt-get install nodejs npm")
    if not (HERE / "node_modules" / "@grafana").is_dir():
        installed = _run(str(npm), "ci", "--ignore-scripts")
        if installed.returncode:
            _give_up(f"LogQL's grammar cannot be installed: {installed.stderr}")
    checked = _run(str(node), "check.mjs", text=json.dumps(queries))
    assert checked.returncode == 0, checked.stderr
    answer: list[list[str]] = json.loads(checked.stdout)
    return answer


def _run(*argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=HERE, input=text, capture_output=True, text=True, timeout=120, check=False)


def _give_up(reason: str) -> None:
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)

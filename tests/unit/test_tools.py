"""What gets the programs that tests run: once, the pinned version, and never silently not."""

import os
import sys
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.tools import GoTool, ToolError, get_go_tools, require_tool, tool

FAKE_GO = f"""#!{sys.executable}
import os, pathlib, sys
with open(os.environ["GO_CALLS"], "a") as calls:
    print(*sys.argv[1:], file=calls)
if "broken" in sys.argv[-1]:
    sys.exit("go: no such module")
program = pathlib.Path(os.environ["GOBIN"], "counter")
program.write_text("#!/bin/sh\\n")
program.chmod(0o755)
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Go that only notes how it is called, and an empty folder for what it builds."""
    go = tmp_path / "path" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(tools, "TOOLS", tmp_path / "tools" / "bin")
    return tmp_path / "calls"


def _built(tmp_path: Path) -> Path:
    return tmp_path / "tools" / "bin" / "counter"


def _get(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(tools, "GO_TOOLS", (GoTool("counter", source),))
    get_go_tools()


def test_a_tool_is_built_once_and_again_for_another_version(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("v1", "v1", "v2"):
        _get(monkeypatch, f"example.org/counter@{version}")
    assert calls.read_text().splitlines() == ["install example.org/counter@v1", "install example.org/counter@v2"]
    assert os.access(_built(tmp_path), os.X_OK)


def test_a_failed_build_leaves_nothing_and_tells_gos_own_reason(
    tmp_path: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ToolError, match=r"go install example.org/broken@v1.* 1: go: no such module"):
        _get(monkeypatch, "example.org/broken@v1")
    assert not _built(tmp_path).exists()


def test_a_program_that_is_not_there_skips_a_test_but_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert tool("surely-not-there") is None
    with pytest.raises(pytest.skip.Exception, match="no surely-not-there; get it with: python"):
        require_tool("surely-not-there")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="surely-not-there"):
        require_tool("surely-not-there")
    assert require_tool("sh").endswith("/sh")

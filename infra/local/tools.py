"""Where programs that are neither Python nor Java are looked for: what `make test` has got, then the PATH."""

import os

from infra.local.settings import ROOT

TOOLS = ROOT / ".local" / "tools" / "bin"


def with_tools(path: str) -> str:
    """`path` as a search path that begins with the folder of those programs."""
    return f"{TOOLS}{os.pathsep}{path}"

"""Where programs that are no Python are looked for: what `make test` has got, then the PATH."""

import os
import shutil
from pathlib import Path

from infra.local.settings import ROOT

TOOLS = ROOT / ".local" / "tools" / "bin"


def tool_path(name: str, path: str | None = None) -> Path | None:
    """The program `name` in `.local/tools/bin`, else on `path` (by default the PATH), else None."""
    search = os.environ.get("PATH", os.defpath) if path is None else path
    found = shutil.which(name, path=f"{TOOLS}{os.pathsep}{search}")
    return Path(found) if found else None

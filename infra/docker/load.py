"""``python -m infra.docker.load``: the data set and the first models, once; run again it changes nothing.

The container's counterpart of what `make demo` does on a new stack: fetch the data into ``/movielens``, load them,
and train, unless a model is promoted already.
"""

import subprocess
import sys
from pathlib import Path

from infra.local.dataset import DatasetError, DatasetSettings, fetch
from services.common import postgres, registry
from services.common.settings import PostgresSettings

DATA = Path("/movielens")
"""The volume of the data sets; with MOVIELENS_DIR, the files themselves."""


def main() -> int:
    """Fetch, load, train; return the exit status of the first step that fails."""
    try:
        data = fetch(DatasetSettings.from_environment(), DATA)
    except DatasetError as error:
        print(f"data: {error}", file=sys.stderr)
        return 1
    loaded = _run("importer", "load", "--movielens", str(data))
    if loaded != 0 or _has_champion():
        return loaded
    return _run("trainer", "run", "--run-id", f"initial-{data.name}", "--force")


def _run(service: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", f"services.{service}", *arguments], check=False).returncode


def _has_champion() -> bool:
    with postgres.connect(PostgresSettings.from_environment().postgres_dsn) as connection:
        return registry.champion(connection) is not None


if __name__ == "__main__":
    sys.exit(main())

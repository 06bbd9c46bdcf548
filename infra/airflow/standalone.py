"""`airflow standalone` without its log servers: run it with Airflow's own interpreter.

Airflow 3.3 binds the servers that show tasks' logs to all interfaces, and has no setting for it. On one machine they
are not needed: the API server reads the files. `standalone` hands no options to its parts, so they are added here.
"""

import sys
from typing import Any

from airflow.__main__ import main  # type: ignore[import-not-found, unused-ignore]
from airflow.cli.commands import standalone_command  # type: ignore[import-not-found, unused-ignore]

WITH_A_LOG_SERVER = frozenset({"scheduler", "triggerer"})


class Part(standalone_command.SubCommand):  # type: ignore[misc, unused-ignore]
    """One of the four programs that `standalone` starts."""

    def __init__(self, parent: Any, name: str, command: list[str], env: dict[str, str]) -> None:
        options = ["--skip-serve-logs"] if name in WITH_A_LOG_SERVER else []
        super().__init__(parent, name, [*command, *options], env)


if __name__ == "__main__":
    standalone_command.SubCommand = Part
    sys.argv = ["airflow", "standalone"]
    main()

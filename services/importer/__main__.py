"""The importer's command line: ``python -m services.importer COMMAND``.

load (a MovieLens data set), import-files (the files of ratings that have landed), forget-files (takes the lines of
erased viewers out of landed files), note-ended (of a command that was killed). Each is safe to run again.

Output: JSON log lines on stdout; the last line is the command's result. Progress bars go to stderr.

Exit status:
  0  done
  1  something failed that may succeed when tried again: a store does not answer
  2  arguments, settings or files are wrong: trying again changes nothing
  4  the catalogue is empty: load it first
  5  files were refused or had to be left, all others are imported; the reports are in failed/ (see
     services/importer/landing.py)
"""

import argparse
import sys
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from services.common import clickhouse, postgres
from services.common.settings import SettingsError
from services.common.step_command import Answer, DetailedError, ExitStatus, StepCommands
from services.common.telemetry import configure_logging
from services.importer.forget import forget
from services.importer.landing import EmptyCatalogueError, Imported, import_files
from services.importer.load import load
from services.importer.movielens_tables import MovieLensError
from services.importer.settings import ForgetSettings, ImportSettings, LoadSettings


class FilesRefusedError(DetailedError):
    """Files had bad lines or could not be moved; everything else was imported."""

    def __init__(self, imported: Imported) -> None:
        left = f", {len(imported.left)} could not be read or moved and stay where they are" if imported.left else ""
        super().__init__(f"{len(imported.refused)} of the files were refused; the reports are in failed/{left}")
        self.details = asdict(imported)


def main(argv: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    return commands().run(argv)


def commands() -> StepCommands:
    """Return all commands, with their arguments."""
    commands = StepCommands("importer", __doc__, _exit_status)
    commands.add("load", _load).add_argument("--movielens", type=Path, required=True, help="folder with the data set")
    commands.add("import-files", _import_files)
    commands.add("forget-files", _forget_files)
    return commands


def _exit_status(error: BaseException) -> ExitStatus:
    match error:
        case SettingsError() | MovieLensError():
            return ExitStatus.USAGE
        case EmptyCatalogueError():
            return ExitStatus.NOT_ENOUGH_DATA
        case FilesRefusedError():
            return ExitStatus.FILES_REFUSED
    return ExitStatus.FAILED


def _load(options: argparse.Namespace) -> Answer:
    """Load a MovieLens data set: catalogue, users and ratings."""
    settings = LoadSettings.from_environment()
    configure_logging("importer", settings.log_level)
    with (
        closing(postgres.connect_when_up(settings.postgres_dsn)) as connection,
        closing(clickhouse.connect_when_up(settings.clickhouse_url)) as client,
    ):
        return asdict(load(options.movielens, connection, client, datetime.now(timezone.utc)))


def _import_files(_: argparse.Namespace) -> Answer:
    """Import the landed files of ratings."""
    settings = ImportSettings.from_environment()
    configure_logging("importer", settings.log_level)
    with (
        closing(postgres.connect_when_up(settings.postgres_dsn)) as connection,
        closing(clickhouse.connect_when_up(settings.clickhouse_url)) as client,
    ):
        imported = import_files(settings.landing_dir, connection, client, datetime.now(timezone.utc))
    if imported.refused or imported.left:
        raise FilesRefusedError(imported)
    return asdict(imported)


def _forget_files(_: argparse.Namespace) -> Answer:
    """Remove the lines of erased viewers from landed files."""
    settings = ForgetSettings.from_environment()
    configure_logging("importer", settings.log_level)
    with closing(postgres.connect_when_up(settings.postgres_dsn)) as connection:
        done = forget(settings.landing_dir, connection)
    return {"files": done.rewritten, "lines": done.lines, "not_ours": done.not_ours}


if __name__ == "__main__":
    sys.exit(main())

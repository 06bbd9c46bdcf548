"""A command line of steps of the nightly run: exit statuses, JSON results, a record of how each step ended."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any

from services.common import tracing
from services.common.settings import LogSettings, SettingsError
from services.common.step_log import note_step
from services.common.telemetry import configure_logging
from services.contracts.logs import RUN_ID, log_context

Answer = dict[str, Any]
Command = Callable[[argparse.Namespace], Answer]

log = logging.getLogger("services.steps")


class ExitStatus(IntEnum):
    """How a command ended; the DAG retries after FAILED alone."""

    OK = 0
    FAILED = 1
    """It may succeed when tried again: a store does not answer, events are missing."""
    USAGE = 2
    """Arguments, settings or files are wrong."""
    GATE_REFUSED = 3
    NOT_ENOUGH_DATA = 4
    FILES_REFUSED = 5


class DetailedError(Exception):
    """An error with fields for its log line."""

    details: dict[str, Any]


class StepCommands:
    """The commands of one program. Log lines go to stdout as JSON; a command's result is the last of them."""

    def __init__(self, program: str, description: str | None, status_of: Callable[[BaseException], ExitStatus]) -> None:
        """``status_of`` maps an error to the exit status, which tells the caller what to do; see `ExitStatus`."""
        self._program = program
        self._status_of = status_of
        self.parser = argparse.ArgumentParser(
            prog=f"python -m services.{program}",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._commands = self.parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
        ended = self.add("note-ended", self._note_ended, is_recorded=False)
        ended.add_argument("step", help="the step that was ended by a signal, and could not say so itself")
        ended.add_argument("--run-id", default="", help="of its run, if it was of one")
        ended.add_argument("--status", type=positive_int, required=True, help="128 and the signal's number")
        ended.add_argument("--started-at", type=datetime.fromisoformat, required=True, help="ISO 8601 with a zone")

    def add(self, name: str, command: Command, *, is_recorded: bool = True) -> argparse.ArgumentParser:
        """Add a command, described by its docstring; return its parser, for arguments."""
        parser = self._commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        parser.set_defaults(command=self.recorded(name, command) if is_recorded else command)
        return parser

    def recorded(self, name: str, command: Command) -> Command:
        """Wrap a command: its log lines carry the run's id, it is a span, and how it ended is recorded."""

        def step(options: argparse.Namespace) -> Answer:
            started_at = datetime.now(timezone.utc)
            run_id = getattr(options, "run_id", "")
            with log_context(**{RUN_ID: run_id} if run_id else {}), tracing.span(name):
                try:
                    answer = command(options)
                except (Exception, SettingsError) as error:
                    note_step(run_id, name, self._status_of(error), started_at)
                    raise
                note_step(run_id, name, ExitStatus.OK, started_at)
            return answer

        return step

    def run(self, argv: list[str] | None = None) -> ExitStatus:
        """Parse, run the command, and translate errors into the exit status."""
        options = self.parser.parse_args(argv)
        tracing.configure_tracing(self._program)
        try:
            answer = options.command(options)
        except SettingsError as error:
            print(error, file=sys.stderr)
            return ExitStatus.USAGE
        except Exception as error:
            status = self._status_of(error)
            if status is ExitStatus.FAILED:
                log.exception("%s failed", options.name)
            else:
                details = error.details if isinstance(error, DetailedError) else {}
                log.error("%s", error, extra={"step": options.name, **details})  # noqa: TRY400
            return status
        print(json.dumps({"step": options.name, **answer}, default=str), flush=True)
        return ExitStatus.OK

    def _note_ended(self, options: argparse.Namespace) -> Answer:
        """Record how a step that was killed ended."""
        configure_logging(self._program, LogSettings.from_environment().log_level)
        note_step(options.run_id, options.step, options.status, options.started_at)
        return {"ended": options.step, "status": options.status}


def positive_int(text: str) -> int:
    """Parse an argument that must be a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)

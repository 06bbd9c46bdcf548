"""The operator that runs one step of the importer's or the trainer's command line."""

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

IMPORTER_COMMAND = "IMPORTER_COMMAND"
"""Environment variable: the command that runs the importer, e.g. ``.venv/bin/python -m services.importer``."""
TRAINER_COMMAND = "TRAINER_COMMAND"
"""The same for the trainer."""
EXIT_USAGE = 2
"""Arguments or settings are wrong: the same argv cannot succeed later."""
EXIT_GATE_REFUSED = 3
"""The gate refused the model: a verdict, not a failure."""
EXIT_NOT_ENOUGH_DATA = 4
"""There is too little to train on yet."""
EXIT_FILES_REFUSED = 5
"""Files of ratings had bad lines; everything else was imported."""
FINAL = {
    EXIT_USAGE: "its arguments or settings are wrong",
    EXIT_GATE_REFUSED: "the gate refused the model; the old one is still served",
    EXIT_NOT_ENOUGH_DATA: "there is not enough data to train on",
    EXIT_FILES_REFUSED: "files were refused, the reports are beside them in failed/; all others are imported",
}
"""Exit statuses (`services.common.step_command.ExitStatus`) that a retry would not change."""
GRACE_SECONDS = 15
MAX_LINE_BYTES = 1_000_000
"""The maximum length of a line of output; the rest is skipped."""
MAX_LOGGED = 10_000
"""Characters of a line that go to the log."""
NOTE_SECONDS = 60
MAX_NAME = 180
PROJECT = Path(__file__).resolve().parent.parent


def filesystem_safe(run_id: str) -> str:
    """Return a name for ``run_id`` that is safe as a folder and as an argument, and unique to it.

    >>> filesystem_safe("manual__1")
    'manual__1'
    >>> filesystem_safe("scheduled__2026-11-21T03:00:00+00:00")
    'scheduled__2026-11-21T03-00-00-00-00-6048c48a'
    >>> filesystem_safe("~~")
    'run-4970013d'
    """
    safe = re.sub(r"[^A-Za-z0-9_.]+", "-", run_id).lstrip("-.")[:MAX_NAME] or "run"
    return safe if safe == run_id else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


class StepOperator(BaseOperator):
    """Run ``$<program> <step> --run-id <of the DAG run>`` in the project's folder.

    A step outside a run, ``of_run=False``, gets no run id.

    The process inherits the environment and the task's standard error, and is ended with the task.
    Its standard output is logged line by line, whatever bytes and however long; the last line that is
    a JSON object with a ``version`` makes that version the task's XCom. A final exit status (`FINAL`)
    fails the task without retries, any other is retried. A step that was killed by a signal could not
    record its exit status, so this operator does.
    """

    def __init__(
        self,
        *,
        step: str,
        program: str = TRAINER_COMMAND,
        of_run: bool = True,
        force_param: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.program = program
        self.of_run = of_run
        self.force_param = force_param
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self, context: Any) -> str | None:
        """Run the step and return the model version that it named, if any."""
        of_run = ["--run-id", filesystem_safe(context["run_id"])] if self.of_run else []
        argv = [*_command(self.program), self.step, *of_run]
        if self.force_param and context["params"][self.force_param]:
            argv.append("--force")
        self.log.info("running %s", shlex.join(argv))
        started_at = datetime.now(timezone.utc)
        try:
            status, version = self._run(argv)
        except BaseException:  # the task timed out or was ended
            self._note(of_run, 128 + signal.SIGTERM, started_at)
            raise
        if status < 0:
            self._note(of_run, 128 - status, started_at)
            raise AirflowException(f"{self.step}: ended by signal {-status} ({_signal_name(-status)})")
        if status in FINAL:
            raise AirflowFailException(f"{self.step}: {FINAL[status]} (exit status {status})")
        if status != 0:
            raise AirflowException(f"{self.step}: exit status {status}")
        return version

    def _run(self, argv: Sequence[str]) -> tuple[int, str | None]:
        version = None
        with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=PROJECT, start_new_session=True) as process:
            self._process = process
            try:
                for line in _lines(process.stdout):
                    self.log.info("%s", line if len(line) <= MAX_LOGGED else f"{line[:MAX_LOGGED]}… (cut off)")
                    version = _version_in(line) or version
            except BaseException:  # also Airflow's timeout: the step must not outlive its task
                self.on_kill()
                raise
        return process.returncode, version

    def _note(self, of_run: Sequence[str], status: int, started_at: datetime) -> None:
        """Record the exit status of a step that was killed, as a shell would; errors are only logged."""
        note = [*_command(self.program), "note-ended", self.step, *of_run]
        note += ["--status", str(status), "--started-at", started_at.isoformat()]
        try:
            subprocess.run(note, cwd=PROJECT, timeout=NOTE_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            self.log.warning("could not record how %s ended: %s", self.step, error)

    def on_kill(self) -> None:
        """End the step and its children: SIGTERM first, SIGKILL after `GRACE_SECONDS`."""
        if self._process is None or self._process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)


def _command(program: str) -> list[str]:
    command = shlex.split(os.environ.get(program, ""))
    if not command:
        raise AirflowFailException(f"{program} is not set: the command that runs this step's program")
    return command


def _lines(output: IO[bytes] | None) -> Iterator[str]:
    """Yield lines without their ends. What is no UTF-8 is replaced; a line is held up to `MAX_LINE_BYTES`."""
    if output is None:
        return
    while line := output.readline(MAX_LINE_BYTES):
        yield line.decode("utf-8", "replace").rstrip()
        while len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = output.readline(MAX_LINE_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _version_in(line: str) -> str | None:
    with suppress(ValueError, RecursionError):  # a number of 5,000 digits, 10,000 brackets
        entry = json.loads(line)
        if isinstance(entry, dict) and isinstance(entry.get("version"), str):
            return str(entry["version"])
    return None

"""One operator: run one step of the trainer's command line. Argv in, exit status out."""

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

TRAINER_COMMAND = "TRAINER_COMMAND"
"""Environment variable: the command that runs the trainer, e.g. ``.venv/bin/python -m services.trainer``."""
EXIT_USAGE = 2
"""Arguments or settings are wrong: the same argv cannot succeed later."""
EXIT_GATE_REFUSED = 3
"""The gate has looked at the model and refused it: a verdict, not an accident."""
EXIT_NOT_ENOUGH_DATA = 4
"""There is too little to train on yet."""
EXIT_FILES_REFUSED = 5
"""Files of ratings had bad lines; everything else was imported."""
FINAL = {
    EXIT_USAGE: "its arguments or settings are wrong",
    EXIT_GATE_REFUSED: "the gate refused the model, and the old one goes on serving",
    EXIT_NOT_ENOUGH_DATA: "there is not enough data to train on",
    EXIT_FILES_REFUSED: "files were refused, the reports are beside them in failed/; all others are imported",
}
"""Exit statuses (of ``python -m services.trainer --help``) after which trying again changes nothing."""
GRACE_SECONDS = 15
MAX_NAME = 180
PROJECT = Path(__file__).resolve().parent.parent


def filesystem_safe(run_id: str) -> str:
    """Return a name for ``run_id`` that is safe as a folder and as an argument, and unique to it.

    >>> filesystem_safe("manual__1")
    'manual__1'
    >>> filesystem_safe("scheduled__2026-11-21T03:00:00+00:00")
    'scheduled__2026-11-21T03-00-00-00-00-6048c48a'
    """
    safe = re.sub(r"[^A-Za-z0-9_.]+", "-", run_id).lstrip("-.")[:MAX_NAME]
    return safe if safe == run_id else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


class TrainerOperator(BaseOperator):
    """Run ``$TRAINER_COMMAND <step> --run-id <of the DAG run>`` in the project's folder.

    A step that stands for itself, ``of_run=False``, gets no run id.

    The process inherits the environment and the task's standard error, and is ended with the task.
    Its standard output is logged line by line; the last line that is a JSON object with a
    ``version`` makes that version the task's XCom. A final exit status (`FINAL`) fails the task
    without retries, any other is retried.
    """

    def __init__(self, *, step: str, of_run: bool = True, force_param: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.of_run = of_run
        self.force_param = force_param
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Any) -> str | None:
        """Run the step and return the model version that it named, if any."""
        argv = [*_command(), self.step]
        if self.of_run:
            argv += ["--run-id", filesystem_safe(context["run_id"])]
        if self.force_param and context["params"][self.force_param]:
            argv.append("--force")
        self.log.info("running %s", shlex.join(argv))
        status, version = self._run(argv)
        if status in FINAL:
            raise AirflowFailException(f"{self.step}: {FINAL[status]} (exit status {status})")
        if status != 0:
            raise AirflowException(f"{self.step}: exit status {status}")
        return version

    def _run(self, argv: Sequence[str]) -> tuple[int, str | None]:
        version = None
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT, start_new_session=True) as process:
            self._process = process
            try:
                for line in process.stdout or ():
                    self.log.info("%s", line.rstrip())
                    version = _version_in(line) or version
            except BaseException:  # also Airflow's timeout: the step must not outlive its task
                self.on_kill()
                raise
        return process.returncode, version

    def on_kill(self) -> None:
        """End the step and all it started: asked first, killed after `GRACE_SECONDS`."""
        if self._process is None or self._process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)


def _command() -> list[str]:
    command = shlex.split(os.environ.get(TRAINER_COMMAND, ""))
    if not command:
        raise AirflowFailException(f"{TRAINER_COMMAND} is not set: the command that runs the trainer")
    return command


def _version_in(line: str) -> str | None:
    with suppress(json.JSONDecodeError):
        entry = json.loads(line)
        if isinstance(entry, dict) and isinstance(entry.get("version"), str):
            return str(entry["version"])
    return None

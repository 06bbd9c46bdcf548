"""Brings MLflow up to date after a command of the trainer, without ever changing or delaying its outcome for long.

The mirror runs in a process of its own, the command `mirror`: whatever MLflow does, that process can be ended, and
nothing of it stays in this one.
"""

import argparse
import json
import logging
import subprocess
import sys
from contextlib import suppress
from functools import wraps

from services.common.settings import SettingsError
from services.common.step_command import Answer, Command
from services.trainer.settings import MlflowSettings

LIMIT_SECONDS = 120
"""Well below the time limit of any task. What takes longer is done by the command, which has no limit."""
_ARGV = [sys.executable, "-m", "services.trainer", "mirror"]

log = logging.getLogger(__name__)


def then_mirror(command: Command) -> Command:
    """Wrap a command that changes the registry or a bundle: however it ends, MLflow is brought up to date after it."""

    @wraps(command)
    def mirrored(options: argparse.Namespace) -> Answer:
        try:
            answer = command(options)
        except Exception:  # refused by the gate, forgotten in part: the registry changed all the same
            bring_up_to_date()
            raise
        bring_up_to_date()
        return answer

    return mirrored


def bring_up_to_date(limit_seconds: float = LIMIT_SECONDS) -> None:
    """Run the mirror, if there is one, for at most ``limit_seconds``. A failure is a warning; the next call catches up.

    Raises nothing: a model is trained, promoted and rolled back whatever MLflow does.
    """
    try:
        if not MlflowSettings.from_environment().mlflow_tracking_uri:
            return
        done = subprocess.run(
            _ARGV, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=limit_seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        _warn(f"it took longer than {limit_seconds:g} s")
    except (OSError, SettingsError) as error:
        _warn(str(error))
    else:
        if done.returncode:
            _warn(_reason(done.stdout, done.stderr))
        else:
            log.info("MLflow agrees with the registry", extra={"mirrored": _last_object(done.stdout)})


def _warn(why: str) -> None:
    log.warning("MLflow does not agree with the registry yet, the next call catches up: %s", why)


def _reason(output: str, errors: str) -> str:
    """Return the last line of the exception that the command logged, or of what it printed."""
    logged = str(_last_object(output).get("exception") or _last_object(output).get("event") or errors)
    return (logged.strip().splitlines() or ["it ended without a word"])[-1]


def _last_object(output: str) -> Answer:
    for line in reversed(output.splitlines()):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                return entry
    return {}

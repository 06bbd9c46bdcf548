"""A real process under a test's control: started, awaited, frozen, killed, restarted, never leaked."""

import atexit
import ctypes
import os
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_alive: "weakref.WeakSet[ServiceProcess]" = weakref.WeakSet()


class NotReadyError(AssertionError):
    """The process ended, or did not do what was awaited in time; the message ends with its log."""


def deadline_here(seconds: float) -> float:
    """Return a deadline of an idle machine as it is here: where other workers share it, three times as long."""
    return seconds * 3 if "PYTEST_XDIST_WORKER" in os.environ else seconds


def wait_until(
    predicate: Callable[[], bool],
    deadline_seconds: float,
    what: str,
    every_seconds: float = 0.05,
    *,
    log_of: "ServiceProcess | None" = None,
) -> float:
    """Poll `predicate` until it holds and return the seconds that took.

    The deadline is that of an idle machine; see `deadline_here`. When it is over, an AssertionError names ``what`` and
    shows the end of the log of ``log_of``.
    """
    start, deadline_seconds = time.monotonic(), deadline_here(deadline_seconds)
    while not predicate():
        if time.monotonic() - start > deadline_seconds:
            log = f"\n{log_of.log_tail()}" if log_of is not None else ""
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}{log}")
        time.sleep(every_seconds)
    return time.monotonic() - start


class ServiceProcess:
    """One child process in a process group of its own, output appended to `log_file`.

    It dies with us whatever happens: at the interpreter's exit, and by the kernel's parent-death signal when we are
    killed ourselves. Start it from a thread that lives as long as it should: that signal follows the *thread*.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log_file: Path,
        *,
        env: Mapping[str, str] | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_file = log_file
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **(env or {})}
        self.stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of the running process."""
        return self._running().pid

    @property
    def returncode(self) -> int | None:
        """How the last run ended: the exit status, or minus the signal's number; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        """Whether it runs (frozen counts)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> "ServiceProcess":
        """Start it, with the same argv and environment each time; returns at once, and itself."""
        if self.is_running:
            raise RuntimeError(f"{self.name} runs already")
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT,
                start_new_session=True, preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl, no locks taken
            )  # fmt: skip
        _alive.add(self)
        return self

    def wait_ready(self, predicate: Callable[[], bool], deadline_seconds: float = 60) -> float:
        """Wait until `predicate` holds; returns the seconds. Raises NotReadyError, at once if the process ends."""

        def ready_or_ended() -> bool:
            return not self.is_running or predicate()

        try:
            waited = wait_until(ready_or_ended, deadline_seconds, f"{self.name} ready")
        except AssertionError as error:
            raise NotReadyError(f"{error}\n{self.log_tail()}") from error
        if not self.is_running:
            raise NotReadyError(f"{self.name} ended with {self.returncode}\n{self.log_tail()}")
        return waited

    def kill9(self) -> None:
        """SIGKILL to it and all its descendants, then reap it."""
        self._signal_all(signal.SIGKILL)
        self._running_or_ended().wait(timeout=10)

    def stop(self, deadline_seconds: float = 20) -> int:
        """Ask it to end and return its status; kill it and raise AssertionError when it has not within the deadline."""
        process = self._running_or_ended()
        if process.poll() is None:
            process.send_signal(self.stop_signal)
            try:
                process.wait(deadline_seconds)
            except subprocess.TimeoutExpired as error:
                self.kill9()
                raise AssertionError(
                    f"{self.name} ignored its stop signal for {deadline_seconds} s\n{self.log_tail()}"
                ) from error
        return int(process.returncode)

    def wait_ended(self, deadline_seconds: float = 20) -> int:
        """Wait for it to end by itself and return its status; AssertionError when it does not."""
        wait_until(lambda: not self.is_running, deadline_seconds, f"{self.name} ends\n{self.log_tail()}")
        return int(self._running_or_ended().returncode)

    def freeze(self) -> None:
        """SIGSTOP to it and all its descendants: alive, silent, its connections open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, with its clocks ahead."""
        self._signal_all(signal.SIGCONT)

    def log_tail(self, lines: int = 40) -> str:
        """The end of its log, for messages."""
        text = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        return "\n".join([f"--- {self.name}: {self.log_file}", *text[-lines:]])

    def close(self) -> None:
        """Make sure that nothing of it is left; for fixtures and the exit."""
        if self.is_running:
            self.kill9()

    def __enter__(self) -> "ServiceProcess":
        return self if self.is_running else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal_all(self, number: int) -> None:
        process = psutil.Process(self._running().pid)
        # Descendants rather than the process group: PostgreSQL's backends each lead a group of their own.
        for member in [process, *process.children(recursive=True)]:
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process

    def _running_or_ended(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@atexit.register
def _close_all() -> None:
    for process in list(_alive):
        process.close()

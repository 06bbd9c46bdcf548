"""Up and down: the whole stack, or a part of it, started, waited for and stopped."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from infra.local import readiness
from infra.local.environment import process_environment, service_environment
from infra.local.kafka.jars import JarsUnavailableError, ensure_jars, java_and_maven
from infra.local.leftovers import kill_remaining, stack_processes
from infra.local.ports import taken_ports
from infra.local.programs import STORES, Program, programs
from infra.local.prometheus import configuration_text
from infra.local.settings import StackSettings
from infra.local.supervisor import ProgramRefusedError, Supervisor, config_text, secrets_file
from infra.local.tools import with_tools

STATE = (
    "airflow", "clickhouse", "data", "kafka", "landing", "logs", "models", "postgres", "prometheus", "runs", "secrets",
    "tools", "stack.digest", "stack.lock", "supervisor.sock", "supervisord.conf", "supervisord.pid",
)  # fmt: skip
"""Everything that the stack, and `make test` beside it, makes in the state folder."""


class StackError(RuntimeError):
    """The stack could not do what was asked; the message says what to do or which log to read."""


class Stack:
    """The stack of one state folder. `environment` is the caller's, usually `os.environ`."""

    def __init__(self, settings: StackSettings, environment: Mapping[str, str]) -> None:
        self.settings = settings
        self.state = settings.state
        self.programs = programs(settings, with_tools(environment.get("PATH", os.defpath)))
        self.supervisor = Supervisor(self.state)
        self._environment = process_environment(settings, environment)

    def log_file(self, name: str) -> Path:
        """Where the output of the program `name` goes."""
        return self.state / "logs" / f"{name}.log"

    def up(self, only: Iterable[str] = (), timeout_seconds: float = 240) -> None:
        """Start the programs named by `only`, or all, and return once each answers. What runs already is left as it
        is. Raises StackError: unknown name, taken port (nothing is started then), given up, or out of time."""
        wanted = self._selected(only)
        _make_private(self.state)
        with self._only_one_at_a_time():
            self._refuse_changed_settings()
            running = {name for name, state in self.supervisor.states().items() if state.is_up}
            missing = [program for program in wanted if program.name not in running]
            if missing:
                if self.supervisor.pid() is None:
                    self._clear_a_dead_supervisors_programs()
                _refuse_missing_files(missing)
                self._refuse_taken_ports(missing)
                self._prepare_files(missing)
                if self.supervisor.pid() is None:
                    self._start_supervisord()
                try:
                    for program in missing:
                        self.supervisor.start(program.name)
                except ProgramRefusedError as error:
                    raise StackError(str(error)) from error
            self._wait_until_ready(wanted, timeout_seconds)

    def down(self, timeout_seconds: float = 90) -> list[str]:
        """Stop everything: what writes first, then the stores, then supervisord.

        Returns the processes that had to be killed (none, when all goes well). Afterwards no process is left.
        """
        if not self.state.is_dir():
            return []
        with self._only_one_at_a_time():
            everyone = stack_processes(self.state)
            deadline = time.monotonic() + timeout_seconds
            self._stop_and_wait(lambda name: name not in STORES, deadline)
            self._stop_and_wait(lambda name: True, deadline)
            if self.supervisor.pid() is not None:
                self.supervisor.shut_down()
            found = {process.pid: process for process in [*everyone, *stack_processes(self.state)]}
            killed = kill_remaining(found.values(), grace_seconds=5)
            self._digest_file.unlink(missing_ok=True)
            return killed

    def clean(self) -> list[str]:
        """Stop everything and delete what the stack keeps in its state folder; returns the names of what is not its.

        Raises StackError, having touched nothing, for a folder in which no stack ever ran.
        """
        if not self.state.is_dir():
            return []
        default = self.settings.root / StackSettings.model_fields["local_dir"].default
        if self.state != default.resolve() and not (self.state / "supervisord.conf").is_file():
            raise StackError(f"LOCAL_DIR: {self.state} is not the state folder of a stack; nothing was deleted")
        self.down()
        for name in STATE:
            entry = self.state / name
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
        kept = sorted(entry.name for entry in self.state.iterdir())
        if not kept:
            self.state.rmdir()
        return kept

    def _selected(self, only: Iterable[str]) -> list[Program]:
        names = list(only) or list(self.programs)
        unknown = [name for name in names if name not in self.programs and name not in self.settings.external]
        if unknown:
            raise StackError(f"no such program: {', '.join(unknown)}; there are {', '.join(self.programs)}")
        return [self.programs[name] for name in names if name in self.programs]

    @contextmanager
    def _only_one_at_a_time(self) -> Iterator[None]:
        with (self.state / "stack.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackError(f"another `up` or `down` of {self.state} is under way") from error
            yield

    @property
    def _config(self) -> str:
        return config_text(self.programs.values(), self.settings.root, self.state, as_root=os.geteuid() == 0)

    @property
    def _digest_file(self) -> Path:
        return self.state / "stack.digest"

    def _digest(self) -> str:
        secrets = {name: dict(program.secrets) for name, program in self.programs.items()}
        settings = json.dumps([service_environment(self.settings), secrets], sort_keys=True)
        return hashlib.sha256((self._config + settings).encode()).hexdigest()

    def _refuse_changed_settings(self) -> None:
        if self.supervisor.pid() is None or not self._digest_file.exists():
            return
        if self._digest_file.read_text() != self._digest():
            raise StackError(
                "the settings have changed since the stack was started, or a program that belongs to it has been"
                " installed: stop it first (`make stop`)"
            )

    def _refuse_taken_ports(self, wanted: list[Program]) -> None:
        taken = taken_ports(wanted)
        if taken:
            raise StackError("\n".join(str(port) for port in taken) + "\nnothing was started")

    def _clear_a_dead_supervisors_programs(self) -> None:
        orphans = stack_processes(self.state)
        if not orphans:
            return
        print(f"stack: an earlier supervisord is gone; stopping the {len(orphans)} processes it left", flush=True)
        for process in orphans:
            with suppress(psutil.NoSuchProcess):  # a child that went with its parent
                process.terminate()
        kill_remaining(orphans, grace_seconds=15)

    def _prepare_files(self, wanted: list[Program]) -> None:
        for folder in ("secrets", "logs", "models", "runs", "airflow", "prometheus"):
            (self.state / folder).mkdir(exist_ok=True)
        _, mvn = java_and_maven()
        if any(program.name == "kafka" and "--mock" not in program.argv for program in wanted):
            try:
                # Here rather than in the broker's own start, for the progress and the reason to be seen.
                ensure_jars(self.state / "kafka", mvn)
            except JarsUnavailableError as error:
                raise StackError(str(error)) from error
        for program in wanted:
            if program.secrets:
                _write_private(secrets_file(self.state, program.name), json.dumps(dict(program.secrets)))
        passwords = {"admin": self.settings.airflow_admin_password.get_secret_value()}
        _write_private(self.state / "airflow" / "passwords.json", json.dumps(passwords) + "\n")
        (self.state / "prometheus" / "prometheus.yml").write_text(configuration_text(self.settings, self.programs))
        _write_private(self.state / "supervisord.conf", self._config)
        _write_private(self._digest_file, self._digest())

    def _start_supervisord(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.state / "supervisord.conf")]
        result = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        deadline = time.monotonic() + 10
        while self.supervisor.pid() is None:
            if result.returncode != 0 or time.monotonic() > deadline:
                raise StackError(f"supervisord did not start: {(result.stdout + result.stderr).strip()}")
            time.sleep(0.05)

    def _wait_until_ready(self, wanted: list[Program], timeout_seconds: float) -> None:
        checks = readiness.checks(self.settings)
        start = time.monotonic()
        pending = {program.name: program for program in wanted}
        next_note = 15.0
        while pending:
            states = self.supervisor.states()
            waited = time.monotonic() - start
            for name, program in list(pending.items()):
                state = states.get(name)
                if state is None:
                    continue  # supervisord was too busy to answer this time; the time limit catches a dead one
                if state.has_given_up:
                    raise StackError(f"{name} does not start; its log ends with:\n{self._log_tail(name)}")
                check = checks.get(name)
                if state.is_running and (check is None or check()):
                    waited = time.monotonic() - start
                    note = f"  ({program.note})" if program.note else ""
                    print(f"  {name:<15} ready after {waited:5.1f} s   {program.address}{note}", flush=True)
                    del pending[name]
            if waited > timeout_seconds:
                logs = ", ".join(str(self.log_file(name)) for name in pending)
                raise StackError(f"not ready after {timeout_seconds:.0f} s: {', '.join(pending)}; read {logs}")
            if pending and waited > next_note:
                print(f"  … {waited:3.0f} s, waiting for {', '.join(pending)}", flush=True)
                next_note += 15
            time.sleep(0.2 if pending else 0)

    def _log_tail(self, name: str, lines: int = 15) -> str:
        path = self.log_file(name)
        text = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else ["(empty)"]
        return "\n".join([*(f"    {line}" for line in text), f"  read {path}"])

    def _stop_and_wait(self, chosen: Callable[[str], bool], deadline: float) -> None:
        """Stop the chosen programs together and wait until each has ended; supervisord kills those that dawdle."""
        names = [name for name, state in self.supervisor.states().items() if state.is_up and chosen(name)]
        for name in names:
            self.supervisor.stop(name)
        while time.monotonic() < deadline:
            states = self.supervisor.states()
            if not any(states[name].pid for name in names if name in states):
                return
            time.sleep(0.1)


def _refuse_missing_files(wanted: list[Program]) -> None:
    absent = [program for program in wanted if not Path(program.argv[0]).exists()]
    if absent:
        lines = [f"{program.argv[0]}, which starts {program.name}, does not exist" for program in absent]
        raise StackError("\n".join(lines) + "\nrun `make setup` first; nothing was started")


def _make_private(folder: Path) -> None:
    """Make the folder if it is not there, and its owner's alone either way."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)  # one of an earlier version may be open to others
    with os.fdopen(descriptor, "w") as file:
        file.write(text)

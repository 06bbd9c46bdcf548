"""supervisord: its configuration as text, and a typed client of the calls that the stack makes."""

import hashlib
import os
import shlex
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from supervisor.states import RUNNING_STATES, ProcessStates, getProcessStateDescription
from supervisor.xmlrpc import SupervisorTransport

from infra.local.programs import Program

WITH_SECRETS = Path(__file__).with_name("with_secrets.py")
_LONGEST_SOCKET_PATH = 100  # the kernel's limit is 107 bytes
_RUNNING: set[str] = {getProcessStateDescription(state) for state in RUNNING_STATES}
_FATAL: str = getProcessStateDescription(ProcessStates.FATAL)


def socket_path(state: Path) -> Path:
    """The control socket: in the state folder, or, when that path is too long for a socket, in the temporary folder
    under a name of its own for this state folder and user."""
    inside = state / "supervisor.sock"
    if len(str(inside).encode()) <= _LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"movierecs-{os.getuid()}-{digest}.sock"


def secrets_file(state: Path, program: str) -> Path:
    """Where `with_secrets.py` finds what the program alone is to know."""
    return state / "secrets" / f"{program}.json"


def config_text(programs: Iterable[Program], root: Path, state: Path, *, as_root: bool) -> str:
    """supervisord's configuration. Holds no secret: those are in a file for each program.

    Nothing starts by itself: `up` starts what it was asked for, so a part of the stack uses the same file.
    """
    sections = [
        "[unix_http_server]",
        f"file={_escape(str(socket_path(state)))}",
        "chmod=0600",
        "",
        "[supervisord]",
        f"directory={_escape(str(root))}",
        f"logfile={_escape(str(state / 'logs' / 'supervisord.log'))}",
        f"pidfile={_escape(str(state / 'supervisord.pid'))}",
        f"childlogdir={_escape(str(state / 'logs'))}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        *(["user=root"] if as_root else []),
        "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for program in programs:
        sections += ["", *_program_section(program, state)]
    return "\n".join(sections) + "\n"


def _program_section(program: Program, state: Path) -> list[str]:
    argv = program.argv
    if program.secrets:
        argv = (sys.executable, "-I", str(WITH_SECRETS), str(secrets_file(state, program.name)), *argv)
    environment = ",".join(f'{name}="{_escape(value)}"' for name, value in sorted(program.environment.items()))
    return [
        f"[program:{program.name}]",
        f"command={_escape(shlex.join(argv))}",
        *([f"environment={environment}"] if environment else []),
        "autostart=false",
        "autorestart=true",
        # A program that ends within 2 s counts as a failed start, tried again after 1, 2, 3 … seconds. Few tries are
        # enough: a service that only misses another one waits for it and does not end.
        "startsecs=2",
        "startretries=4",
        f"stopsignal={program.stop_signal}",
        f"stopwaitsecs={program.stop_seconds}",
        # The stop signal goes to the program alone, which stops its own children in order; a kill takes them all.
        "stopasgroup=false",
        "killasgroup=true",
        "redirect_stderr=true",
        f"stdout_logfile={_escape(str(state / 'logs' / f'{program.name}.log'))}",
        "stdout_logfile_maxbytes=20MB",
        "stdout_logfile_backups=3",
    ]


def _escape(value: str) -> str:
    return value.replace("%", "%%")


class ProgramRefusedError(RuntimeError):
    """supervisord would not even try to start a program: its file may not be executed, say."""


@dataclass(frozen=True)
class ProgramState:
    """What supervisord says of a program. `pid` is 0 when it does not run."""

    name: str
    state: str
    pid: int
    uptime_seconds: int
    explanation: str

    @property
    def is_up(self) -> bool:
        """Running, or on its way (starting, backing off before the next try)."""
        return self.state in _RUNNING

    @property
    def is_running(self) -> bool:
        """Running for at least two seconds."""
        return self.state == "RUNNING"

    @property
    def has_given_up(self) -> bool:
        """Failed at every try; nothing happens by itself any more."""
        return self.state == _FATAL


class Supervisor:
    """The supervisord of one state folder."""

    def __init__(self, state: Path) -> None:
        self._socket = f"unix://{socket_path(state)}"

    @property
    def _rpc(self) -> Any:
        # One per call: supervisor's transport cannot be used again after a refused connection.
        transport = SupervisorTransport(None, None, self._socket)
        return cast(Any, xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)).supervisor

    def pid(self) -> int | None:
        """supervisord's pid, None when none answers."""
        try:
            return int(self._rpc.getPID())
        except (OSError, xmlrpc.client.Error):
            return None

    def states(self) -> dict[str, ProgramState]:
        """All programs by name; empty when no supervisord answers."""
        try:
            infos = self._rpc.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):
            return {}
        return {
            info["name"]: ProgramState(
                info["name"],
                info["statename"],
                info["pid"],
                info["now"] - info["start"] if info["pid"] else 0,
                info["spawnerr"] or "",
            )
            for info in infos
        }

    def start(self, name: str) -> None:
        """Ask for a start; returns at once, `states` tells how it goes. Raises ProgramRefusedError."""
        try:
            self._rpc.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            raise ProgramRefusedError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop(self, name: str) -> None:
        """Ask for a stop; returns at once, `states` tells how it goes."""
        self._rpc.stopProcess(name, False)

    def shut_down(self) -> None:
        """Ask supervisord to stop what still runs and to end itself; returns at once."""
        self._rpc.shutdown()

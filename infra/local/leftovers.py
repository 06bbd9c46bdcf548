"""Processes of a stack, found by what they are rather than by who started them."""

from collections.abc import Iterable
from pathlib import Path

import psutil

from infra.local.environment import STACK_MARK


def stack_processes(state: Path) -> list[psutil.Process]:
    """Every live process that carries this stack's mark in its environment, and all their descendants.

    The descendants count too, because programs that rename themselves (PostgreSQL's and Airflow's workers) overwrite
    the environment that the kernel shows of them.
    """
    marked = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(STACK_MARK) == str(state):
                marked.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue
    found = {process.pid: process for process in marked}
    for process in marked:
        try:
            found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def kill_remaining(processes: Iterable[psutil.Process], grace_seconds: float) -> list[str]:
    """Wait up to `grace_seconds` for `processes` to end, kill those that have not; returns `pid 12 (name)` of each.

    A pid that the kernel has meanwhile given to another process is left alone (psutil compares start times).
    """
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    killed = []
    for process in alive:
        try:
            killed.append(f"pid {process.pid} ({process.name()})")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    return killed

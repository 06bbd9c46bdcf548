"""A lock for exclusive work in the landing folder, across machines."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg import Connection

_LOCK = int.from_bytes(b"landing")
_RETRY_SECONDS = 0.2

log = logging.getLogger(__name__)


@contextmanager
def exclusive_lock(folder: Path, postgres: Connection[Any]) -> Iterator[None]:
    """Hold the lock on the folder; it ends with the process or the connection. Blocks."""
    with host_lock(folder):
        # Polled, as a waiting statement would hit the role's time limit.
        while not _try(postgres, "pg_try_advisory_lock"):
            time.sleep(_RETRY_SECONDS)
        try:
            yield
        finally:
            if not postgres.broken:
                _try(postgres, "pg_advisory_unlock")


@contextmanager
def host_lock(folder: Path) -> Iterator[None]:
    """Hold the lock against other processes on this machine only. Blocks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # a file system that has no locks
            log.warning("%s cannot be locked: %s", folder, error)
        yield
    finally:
        os.close(descriptor)


def _try(postgres: Connection[Any], function: str) -> bool:
    with postgres.transaction():
        found = postgres.execute(f"SELECT {function}(%s)", (_LOCK,)).fetchone()
    return bool(found and found[0])

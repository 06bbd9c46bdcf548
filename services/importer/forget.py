"""Removes erased viewers from landed files, and records whose data is gone."""

from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from services.common import erased
from services.importer.file_store import note_rewritten
from services.importer.forget_files import ForgottenInFiles, forget_in_files


class ForgetError(Exception):
    """Files could not be read or changed; the message names them. All others are done."""


def forget(folder: Path, connection: Connection[Any]) -> ForgottenInFiles:
    """Remove the lines of every erased viewer from the files of ``folder``. Idempotent. Blocks.

    Raises:
        ForgetError: something failed; whoever may be in there stays pending.
        psycopg.Error: PostgreSQL does not answer.
    """
    everyone = erased.erased_viewers(connection)
    try:
        done = forget_in_files(folder, everyone, partial(note_rewritten, connection))
    except OSError as error:
        erased.settle(connection, erased.Where.FILES, frozenset(), everyone)
        raise ForgetError(f"landed files: {error}") from error
    erased.settle(connection, erased.Where.FILES, everyone - done.viewers_left, done.viewers_left)
    if done.left:
        raise ForgetError("; ".join(f"{name}: {reason}" for name, reason in done.left.items()))
    return done

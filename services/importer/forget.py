"""Forgets erased viewers in landed files, and notes of whom no file holds anything any more."""

from functools import partial
from pathlib import Path
from typing import Any

from psycopg import Connection

from services.common import erased
from services.importer.file_store import note_rewritten
from services.importer.forget_files import ForgottenInFiles, forget_in_files


class ForgetError(Exception):
    """Files could not be looked at or changed; the message names them, and all others are done."""


def forget(folder: Path, connection: Connection[Any]) -> ForgottenInFiles:
    """Take the lines of every erased viewer out of the files of ``folder``. Safe to repeat. Blocks.

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

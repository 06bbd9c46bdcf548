"""Imports landed files of ratings: ``landing → incoming → processed | failed``, each content once.

A file is CSV in UTF-8, one rating a line, none with a line break in a value; its first line names the columns, in any
order:

| column | what |
|---|---|
| `user_id` | the viewer, a whole number from 1 |
| `item_id` | the film, one of the catalogue |
| `rating` | stars, 0.5 to 5 |
| `timestamp` | when: seconds since 1970 UTC, or ISO 8601 with a zone; microseconds count |

It is dropped into the folder ``LANDING_DIR``, and moves on within it; other folders in there are left alone:

| folder | what is there |
|---|---|
| ``.`` | landed; names that begin with a dot or end in ``.part`` or ``.tmp`` are still being written, and left alone |
| ``incoming/`` | claimed by a running import, or by one that was cut off: the next one begins here |
| ``processed/`` | stored completely |
| ``failed/`` | refused, with a report beside it (``….errors.json``) that names the lines and the reasons |

*Write under another name, then rename*: what has a proper name is taken to be complete.

Files and moves: every move is one rename within a file system, done last. A file that is stored or refused is called
``<name>-<first 12 digits of its SHA-256>``, so a name may land again every day and covers nothing.

All or nothing: the whole file is checked first (`services.importer.ratings_file`). With one bad line nothing of it is
stored; mend it and let it land again. Pipes, links and what cannot be read are refused like a bad file. What cannot be
moved stays, is named, and keeps no other file back.

Once: rows are identified by the file's content and their own number. A crash at any point, and a content that lands
again under whatever name, add nothing. Imports take turns (`services.importer.landing_lock`): a second one waits, then
takes what is left.

A rating counts for the lists once a model is trained with it: the nightly run does both.
"""

import errno
import json
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from clickhouse_connect.driver.client import Client
from psycopg import Connection

from services.importer import ratings_file
from services.importer.catalogue import read_titles
from services.importer.file_store import rows_when_complete, store
from services.importer.landing_lock import exclusive_lock
from services.importer.rating_rules import Rules
from services.importer.ratings_file import Checked, Layout, RatingsBlock
from services.importer.text_file import FileChangedError

SOURCE = "landing"
"""The events' source."""
INCOMING, PROCESSED, FAILED = "incoming", "processed", "failed"
FOLDERS = (INCOMING, PROCESSED, FAILED)
UNFINISHED = (".part", ".tmp")
REPORT_SUFFIX = ".errors.json"
LAYOUT = Layout(",")

log = logging.getLogger(__name__)


class EmptyCatalogueError(Exception):
    """Files have landed, but the catalogue is empty."""


@dataclass
class Imported:
    """The result of an import."""

    stored: list[str] = field(default_factory=list)
    """Names of files whose ratings are new, in ``processed/``."""
    known: list[str] = field(default_factory=list)
    """Names of files whose content was stored before, in ``processed/``."""
    refused: list[str] = field(default_factory=list)
    """Names of files with bad lines, or that cannot be read, in ``failed/``."""
    left: list[str] = field(default_factory=list)
    """Names of files that stay where they are for the next import: they cannot be moved, or are still being written."""
    ratings: int = 0
    """Ratings in the files that are new."""
    duplicates: int = 0
    """Rows of these files that repeated another one, left out."""
    erased: int = 0
    """Ratings of erased viewers in these files, left out."""


def import_files(folder: Path, postgres: Connection[Any], clickhouse: Client, now: datetime) -> Imported:
    """Take up every file in turn, what was cut off first; return what became of them. Blocks while another one runs.

    No file keeps the others back. ``now`` tells which ratings are of the future.

    Raises:
        EmptyCatalogueError: there are files, but no catalogue; the files stay.
        Exception: a store fails: the file stays in ``incoming/``, and the next import goes on there.
    """
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    done = Imported()
    with exclusive_lock(folder, postgres):
        rules: Rules | None = None
        for file in _claimed(folder, done):
            if rules is None:
                films = read_titles(postgres)
                if not films:
                    raise EmptyCatalogueError(f"{printable(file)} waits in {INCOMING}/, but the catalogue is empty")
                rules = Rules(films, now)
            _Import(folder, rules, postgres, clickhouse, done).take_up(file)
    return done


def waiting_files(folder: Path) -> list[Path]:
    """Return what has landed in a folder, by name: neither folders nor what is still being written."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.suffix not in UNFINISHED and (path.is_symlink() or not path.is_dir())
    )


def printable(file: Path) -> str:
    """Return the file's name as any log can take it: bytes that are not UTF-8 as escapes."""
    return os.fsencode(file.name).decode(errors="backslashreplace")


def _claimed(folder: Path, done: Imported) -> Iterator[Path]:
    """Yield what is in ``incoming/``, then move what has landed there, one at a time; by name."""
    yield from waiting_files(folder / INCOMING)
    for landed in waiting_files(folder):
        claimed = folder / INCOMING / landed.name
        try:
            if os.path.lexists(claimed):
                raise FileExistsError(f"{INCOMING}/ holds a file of this name")
            landed.rename(claimed)
        except FileNotFoundError:
            continue  # its owner took it back
        except OSError as error:
            _leave(landed, error, done)
            continue
        yield claimed


@dataclass
class _Import:
    folder: Path
    rules: Rules
    postgres: Connection[Any]
    clickhouse: Client
    done: Imported

    def take_up(self, file: Path) -> None:
        """Store the file or refuse it, then move it. Only a store's failure is raised."""
        try:
            content = open_regular_file(file)
        except FileNotFoundError:
            return  # its owner took it back
        except PermissionError as error:
            self._move(file, _unreadable(str(error.strerror)))
            return
        except OSError as error:
            _leave(file, error, self.done)
            return
        if content is None:
            self._move(file, _unreadable("not a regular file: links and pipes are not imported"))
            return
        with content:
            try:
                checked = ratings_file.check(content, LAYOUT, self.rules)
            except (FileChangedError, OSError) as error:
                _leave(file, error, self.done)
                return
            except Exception as error:  # one file must not stop the others
                log.exception("%s cannot be read", printable(file))
                checked = _unreadable(repr(error))
            if not checked.bad_lines:
                try:
                    self._store(file, content, checked)
                except FileChangedError as error:
                    _leave(file, error, self.done)
                    return
        self._move(file, checked)

    def _store(self, file: Path, content: BinaryIO, checked: Checked) -> None:
        if rows_when_complete(self.postgres, self.clickhouse, checked.sha256) is not None:
            self.done.known.append(_final_name(file, checked))
            log.info("%s was stored before under this or another name", printable(file))
            return
        blocks = _reading(ratings_file.blocks(content, checked, LAYOUT))
        stored = store(
            self.postgres, self.clickhouse, blocks, digest=checked.sha256, name=printable(file), source=SOURCE
        )
        self.done.stored.append(_final_name(file, checked))
        self.done.ratings += stored.rows
        self.done.erased += stored.erased
        self.done.duplicates += len(checked.duplicates)
        log.info(
            "%s is stored: %d ratings, %d of erased viewers left out, %d duplicate rows",
            printable(file), stored.rows - stored.erased, stored.erased, len(checked.duplicates),
        )  # fmt: skip

    def _move(self, file: Path, checked: Checked) -> None:
        """Move a file that is done with; a refused one gets its report first."""
        name = _final_name(file, checked)
        try:
            if not checked.bad_lines:
                file.rename(self.folder / PROCESSED / name)
                return
            write_report(self.folder / FAILED / f"{name}{REPORT_SUFFIX}", _report_of(file, checked))
            file.rename(self.folder / FAILED / name)
        except OSError as error:
            _leave(file, error, self.done)
            return
        self.done.refused.append(name)
        log.error(
            "%s is refused: %d bad lines, the first is line %d: %s",
            printable(file), checked.bad_lines, checked.problems[0].line, checked.problems[0].reason,
        )  # fmt: skip


def _leave(file: Path, error: Exception, done: Imported) -> None:
    done.left.append(printable(file))
    log.error("%s stays where it is for the next import: %s", printable(file), error)


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report atomically."""
    staging = path.with_name(f".{path.name}")
    staging.write_text(json.dumps(report, indent=2) + "\n")
    staging.rename(path)


def open_regular_file(file: Path) -> BinaryIO | None:
    """Open a regular file; return None for anything else. Never waits for the other end of a pipe, follows no link."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):  # a link, a socket, a device
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _reading(blocks: Iterator[RatingsBlock]) -> Iterator[RatingsBlock]:
    """Distinguish disk errors from errors of the stores, which are `OSError` too."""
    try:
        yield from blocks
    except OSError as error:
        raise FileChangedError(f"cannot be read any more: {error}") from error


def _unreadable(reason: str) -> Checked:
    checked = Checked()
    checked.refuse(1, f"the file cannot be read: {reason}")
    return checked


def _final_name(file: Path, checked: Checked) -> str:
    # Names have a limit of 255 bytes, and there must be room for a report's name.
    name = Path(printable(file))
    stem, suffix = (_cut(part, limit) for part, limit in ((name.stem, 180), (name.suffix, 20)))
    return f"{stem}-{checked.sha256.hex()[:12] or f'unread{file.lstat().st_ino:x}'}{suffix}"


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def _report_of(file: Path, checked: Checked) -> dict[str, Any]:
    return {
        "file": printable(file),
        "sha256": checked.sha256.hex(),
        "bad_lines": checked.bad_lines,
        "first_problems": [asdict(problem) for problem in checked.problems],
    }

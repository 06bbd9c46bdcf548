"""Takes up files of ratings that have landed: ``landing → incoming → processed | failed``, each content once.

A file is dropped into the folder ``LANDING_DIR``, and moves on within it:

| folder | what is there |
|---|---|
| ``.`` | landed; names that begin with a dot or end in ``.part`` or ``.tmp`` are still being written, and left alone |
| ``incoming/`` | claimed by a running import, or by one that was cut off: the next one begins here |
| ``processed/`` | stored completely |
| ``failed/`` | refused, with a report beside it (``….errors.json``) that names the lines and the reasons |

*Write under another name, then rename*: what has a proper name is taken to be complete.

Files and moves: every move is one rename within a file system, done last. A file that is stored or refused is called
``<name>-<first 12 digits of its SHA-256>``, so a name may land again every day and covers nothing.

All or nothing: the whole file is checked first (`services.trainer.landing_csv` says what is valid). With one bad line
nothing of it is stored; mend it and let it land again.

Once: rows are identified by the file's content and their own number. A crash at any point, and a content that lands
again under whatever name, add nothing. Imports take turns (an advisory lock in PostgreSQL): a second one waits, then
takes what is left.

A rating counts for the lists once a model is trained with it: the nightly run does both.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from clickhouse_connect.driver.client import Client
from psycopg import Connection

from services.trainer.catalogue import read_titles
from services.trainer.file_store import rows_when_complete, store
from services.trainer.landing_csv import Reading, read, spooled

SOURCE = "landing"
"""The events' source."""
INCOMING, PROCESSED, FAILED = "incoming", "processed", "failed"
UNFINISHED = (".part", ".tmp")
_LOCK = int.from_bytes(b"landing")

log = logging.getLogger(__name__)


class EmptyCatalogueError(Exception):
    """Files wait, but there is no film that they could be about."""


@dataclass
class Imported:
    """What an import did."""

    stored: list[str] = field(default_factory=list)
    """Names of files whose ratings are new, in ``processed/``."""
    known: list[str] = field(default_factory=list)
    """Names of files whose content was stored before, in ``processed/``."""
    refused: list[str] = field(default_factory=list)
    """Names of files with bad lines, in ``failed/``."""
    ratings: int = 0
    """Ratings in the files that are new."""


def import_files(folder: Path, postgres: Connection[Any], clickhouse: Client, now: datetime) -> Imported:
    """Take up every file in turn, what was cut off first; return what became of them. Blocks while another one runs.

    A refused file does not keep the others back. ``now`` tells which ratings are of the future.

    Raises:
        EmptyCatalogueError: there are files, but no catalogue; the files stay.
        Exception: a store or the disk fails: the file stays in ``incoming/``, and the next import goes on there.
    """
    for name in (INCOMING, PROCESSED, FAILED):
        (folder / name).mkdir(parents=True, exist_ok=True)
    done = Imported()
    with _alone(postgres):
        items: Set[int] = frozenset()
        for file in _claimed(folder):
            items = items or read_titles(postgres).keys()
            if not items:
                raise EmptyCatalogueError(f"{_shown(file)} waits in {INCOMING}/, but the catalogue is empty")
            _take_up(file, folder, items, postgres, clickhouse, now=now, done=done)
    return done


def _claimed(folder: Path) -> Iterator[Path]:
    """Yield what is in ``incoming/``, then move what has landed there, one at a time; by name."""
    yield from _files(folder / INCOMING)
    for landed in _files(folder):
        claimed = folder / INCOMING / landed.name
        try:
            landed.rename(claimed)
        except FileNotFoundError:
            continue  # its owner took it back
        yield claimed


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in UNFINISHED
    )


def _take_up(
    file: Path,
    folder: Path,
    items: Set[int],
    postgres: Connection[Any],
    clickhouse: Client,
    *,
    now: datetime,
    done: Imported,
) -> None:
    with tempfile.TemporaryFile(dir=folder / INCOMING) as unnamed:
        spool = cast("BinaryIO", unnamed)
        with file.open("rb") as content:
            reading = read(content, spool, items, now)
        name = _final_name(file, reading.sha256)
        if reading.bad_lines:
            _report(folder / FAILED / f"{name}.errors.json", file, reading)
            file.rename(folder / FAILED / name)
            done.refused.append(name)
            log.error(
                "%s is refused: %d bad lines, the first is line %d: %s",
                _shown(file), reading.bad_lines, reading.problems[0].line, reading.problems[0].reason,
            )  # fmt: skip
            return
        if rows_when_complete(postgres, clickhouse, reading.sha256) is None:
            done.ratings += store(
                postgres, clickhouse, spooled(spool), digest=reading.sha256, name=_shown(file), source=SOURCE
            )
            done.stored.append(name)
            log.info("%s is stored: %d ratings", _shown(file), reading.rows)
        else:
            done.known.append(name)
            log.info("%s holds nothing new: the same content was stored before", _shown(file))
    file.rename(folder / PROCESSED / name)


def _final_name(file: Path, digest: bytes) -> str:
    # Names have a limit of 255 bytes, and there must be room for a report's name.
    shown = Path(_shown(file))
    stem, suffix = (_cut(part, limit) for part, limit in ((shown.stem, 180), (shown.suffix, 20)))
    return f"{stem}-{digest.hex()[:12]}{suffix}"


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore")


def _report(path: Path, file: Path, reading: Reading) -> None:
    """Write what is wrong with the file, complete or not at all."""
    report = {
        "file": _shown(file),
        "sha256": reading.sha256.hex(),
        "bad_lines": reading.bad_lines,
        "first_problems": [asdict(problem) for problem in reading.problems],
    }
    staging = path.with_name(f".{path.name}")
    staging.write_text(json.dumps(report, indent=2) + "\n")
    staging.rename(path)


def _shown(file: Path) -> str:
    """Return the file's name as any log can take it: bytes that are not UTF-8 as escapes."""
    return os.fsencode(file.name).decode(errors="backslashreplace")


@contextmanager
def _alone(postgres: Connection[Any]) -> Iterator[None]:
    """Hold the lock on the landing folder; it goes with the connection at the latest."""
    with postgres.transaction():
        postgres.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        yield
    finally:
        if not postgres.broken:
            with postgres.transaction():
                postgres.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))

"""Removes the lines of erased viewers from landed files; all other lines stay, byte for byte.

Looked at are ``processed/``, ``failed/`` with its reports, ``incoming/`` and what has landed since. A line is of the
viewer whose id its column ``user_id`` holds. Where the columns cannot be told – no header that names the viewer, or a
line with another number of values – a line goes that holds the id as any of its numbers: such a file or line was
refused and never stored, and whoever sent it has it still.

A rewritten file is another content: it is noted as stored like the one before, so that landing it again adds nothing.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from services.contracts.ids import UserId
from services.importer import csv_rows
from services.importer.landing import FOLDERS, REPORT_SUFFIX, UNFINISHED, open_regular_file, printable, write_report
from services.importer.landing_lock import host_lock

_BLOCK_BYTES = 4 * 2**20
_SEPARATORS = (",", ";", "\t", "|")
_USER = "user_id"
_ALIASES = {"userid": _USER, "user": _USER, "viewerid": _USER, "viewer": _USER}
_NUMBERS = re.compile(rb"[0-9]+")
_STAGING = ".forget-"

log = logging.getLogger(__name__)
Note = Callable[[bytes, bytes, int], None]


@dataclass
class ForgottenInFiles:
    """What was done."""

    rewritten: int = 0
    """Files."""
    lines: int = 0
    """Lines that were taken out."""
    left: dict[str, str] = field(default_factory=dict)
    """What holds erased viewers still, or may hold them, with the reason; as a path in the folder."""
    viewers_left: set[UserId] = field(default_factory=set)
    """Erased viewers who may be in there."""
    not_ours: list[str] = field(default_factory=list)
    """Other folders in there, which were not looked into."""


def forget_in_files(folder: Path, erased: Collection[UserId], note: Note) -> ForgottenInFiles:
    """Rewrite what holds any of these viewers. Safe to repeat and to cut off; blocks while an import runs here.

    Args:
        folder: ``LANDING_DIR``; nothing is done if there is none.
        erased: Ids of viewers.
        note: Is called before a file is replaced, with the SHA-256 of its content, that of the new one, and the number
            of lines less; see `services.importer.file_store.note_rewritten`.

    What fails with one file keeps no other from it, and is named in ``left``; so is whatever ``note`` raises.
    """
    done = ForgottenInFiles()
    if not erased or not folder.is_dir():
        return done
    with host_lock(folder):
        for place in (folder, *(folder / name for name in FOLDERS)):
            for path in sorted(place.iterdir()) if place.is_dir() else []:
                if path.is_dir() and not path.is_symlink():
                    if place != folder or path.name not in FOLDERS:
                        done.not_ours.append(_relative(path, folder))
                elif path.name.startswith(_STAGING):
                    path.unlink(missing_ok=True)  # of a run that was cut off
                elif not path.name.endswith(REPORT_SUFFIX):
                    _forget(path, folder, erased, note, done)
    return done


def _forget(path: Path, folder: Path, erased: Collection[UserId], note: Note, done: ForgottenInFiles) -> None:
    found = set(erased)
    try:
        content = open_regular_file(path)
        if content is None:
            return  # a link or a pipe: nothing of ours
        with content:
            lines = _Lines(content, erased)
            found = lines.viewers()
            if not found:
                return
            _check_can_be_rewritten(path, lines)
            done.lines += _rewrite(path, content, lines, note)
        done.rewritten += 1
    except FileNotFoundError:
        return  # its owner took it back
    except Exception as error:  # one file must not stop the others
        name = _relative(path, folder)
        done.left[name] = str(error)
        done.viewers_left |= found
        log.error("%s may still contain erased viewers: %s", name, error)  # noqa: TRY400


class _CannotError(Exception):
    """The file cannot be rewritten."""


def _check_can_be_rewritten(path: Path, lines: "_Lines") -> None:
    if path.name.startswith(".") or path.suffix in UNFINISHED:
        raise _CannotError("it is still being written")
    if lines.no_text:
        raise _CannotError("it is not a text file; delete it")


class _Lines:
    """Which lines of a file are of erased viewers."""

    def __init__(self, content: BinaryIO, erased: Collection[UserId]) -> None:
        self._content = content
        self._erased = erased
        self._array = np.array(sorted(erased), np.int64)
        self._texts = {str(viewer).encode(): viewer for viewer in erased}
        content.seek(0)
        start = content.read(_BLOCK_BYTES)
        self.no_text = b"\0" in start
        self._separator, self._names = _columns(b"".join(start.splitlines()[:1]))
        self._column = self._names.index(_USER) if self._names else 0

    def viewers(self) -> set[UserId]:
        """Return which viewers are in the file."""
        found: set[UserId] = set()
        for number, block in enumerate(self._blocks()):
            if number == 0 or not self._is_free(block):
                for line in block.splitlines(keepends=True):
                    found |= self._of(line)
        return found

    def kept(self) -> Iterator[tuple[bytes, bool]]:
        """Yield every line and whether it stays."""
        first = bool(self._names)
        for block in self._blocks():
            if not first and self._is_free(block):
                yield block, True
                continue
            for line in block.splitlines(keepends=True):
                yield line, first or not self._of(line)
                first = False

    def _blocks(self) -> Iterator[bytes]:
        self._content.seek(0)
        rest = b""
        while raw := self._content.read(_BLOCK_BYTES):
            raw = rest + raw
            end = max(raw.rfind(b"\n"), raw.rfind(b"\r", 0, -1)) + 1
            rest = raw[end:]
            if end:
                yield raw[:end]
        if rest:
            yield rest

    def _is_free(self, block: bytes) -> bool:
        """Whether it is certain that no line of the block is of an erased viewer; fast, for orderly files."""
        if not self._names:
            return False
        try:
            rows = csv_rows.rows_of(block, self._separator, self._names, {_USER: pa.int64()})
        except (pa.ArrowInvalid, ValueError):
            return False
        return not rows.bad and not np.isin(rows.columns[_USER].to_numpy(), self._array).any()

    def _of(self, line: bytes) -> set[UserId]:
        values = line.split(self._separator.encode()) if self._names else []
        holder = values[self._column] if self._names and len(values) == len(self._names) else line
        numbers = {number.lstrip(b"0") for number in _NUMBERS.findall(holder.replace(b"\0", b""))}
        return {self._texts[number] for number in numbers if number in self._texts}


def _columns(header: bytes) -> tuple[str, list[str]]:
    """Return the separator and the columns' names, none if no column is the viewer's; names are unique."""
    text = header.decode("utf-8-sig", errors="replace")
    for separator in _SEPARATORS:
        names = [csv_rows.column_name(name.strip().strip('"'), _ALIASES) for name in text.split(separator)]
        if len(names) > 1 and names.count(_USER) == 1:
            return separator, [name if name == _USER else f"{number}" for number, name in enumerate(names)]
    return _SEPARATORS[0], []


def _rewrite(path: Path, content: BinaryIO, lines: _Lines, note: Note) -> int:
    """Replace the file by one without the lines; return how many they were."""
    before = os.fstat(content.fileno())
    old, new, gone, number = hashlib.sha256(), hashlib.sha256(), [], 0
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_STAGING, delete=False) as staged:
        staging = Path(staged.name)
        try:
            for line, stays in lines.kept():
                old.update(line)
                if stays:
                    new.update(line)
                    staged.write(line)
                    number += line.count(b"\n") if b"\r" not in line else len(line.splitlines())
                else:
                    number += 1
                    gone.append(number)
            staged.flush()
            os.fchmod(staged.fileno(), before.st_mode & 0o7777)
            os.fsync(staged.fileno())
            now = os.lstat(path)
            if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
                raise _CannotError("it changed while it was read")
            note(old.digest(), new.digest(), len(gone))
            _rewrite_report(path.with_name(f"{path.name}{REPORT_SUFFIX}"), new.hexdigest(), gone)
            staging.replace(path)
        finally:
            staging.unlink(missing_ok=True)
    return len(gone)


def _rewrite_report(path: Path, sha256: str, gone: list[int]) -> None:
    """Number the lines of a report as they are in the file without those that are gone; once for each content."""
    if not path.is_file():
        return
    report: dict[str, Any] = json.loads(path.read_text())
    if report.get("sha256") == sha256:
        return
    problems = cast("list[dict[str, Any]]", report.get("first_problems", []))
    kept = [problem for problem in problems if problem["line"] not in set(gone)]
    for problem in kept:
        problem["line"] -= int(np.searchsorted(gone, problem["line"]))
    report |= {
        "sha256": sha256,
        "bad_lines": report.get("bad_lines", 0) - (len(problems) - len(kept)),
        "first_problems": kept,
    }
    write_report(path, report)


def _relative(path: Path, folder: Path) -> str:
    place = "" if path.parent == folder else f"{path.parent.name}/"
    return f"{place}{printable(path)}"

"""Reads one landed file of ratings: every row is checked before any is used, in bounded memory.

The file is CSV in UTF-8, one rating a line; its first line names the columns, in any order:

| column | what |
|---|---|
| `user_id` | the viewer, a whole number from 1 |
| `item_id` | the film, one of the catalogue |
| `rating` | stars, 0.5 to 5 |
| `timestamp` | when: seconds since 1970 UTC, or ISO 8601 with a zone; microseconds count |

Of two ratings of one film by one viewer the later counts, of two at the same time the one further down.
Lines are separated by LF or CRLF; empty ones are skipped. A value cannot contain a line break, so that a stray
quotation mark spoils its own line and no other.
"""

import csv
import hashlib
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

from services.contracts.events import EARLIEST_EVENT_TIME, MAX_CLOCK_AHEAD_SECONDS, RatingValue
from services.contracts.ids import PROBE_USER, ItemIdField, UserIdField
from services.contracts.signals import EPOCH, to_microseconds

BLOCK_ROWS = 100_000
MAX_LINE_BYTES = 64 * 1024
MAX_PROBLEMS = 100
"""More bad lines than this are counted, not listed."""
_RECORD = np.dtype([("user_id", "<i8"), ("item_id", "<i8"), ("rating", "<f4"), ("time_us", "<i8")])
_SECONDS = re.compile(r"(\d{1,11})(?:\.(\d{1,6}))?")


def _time(text: str) -> datetime:
    """Return the time that ``text`` says.

    >>> _time("1.5").isoformat(), _time("2026-11-21T04:00:00+01:00").isoformat()
    ('1970-01-01T00:00:01.500000+00:00', '2026-11-21T04:00:00+01:00')
    """
    if seconds := _SECONDS.fullmatch(text):
        return EPOCH + timedelta(seconds=int(seconds[1]), microseconds=int((seconds[2] or "0").ljust(6, "0")))
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("neither seconds since 1970 nor ISO 8601 with a zone")
    return time


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    user_id: UserIdField
    item_id: ItemIdField
    rating: RatingValue
    timestamp: Annotated[AwareDatetime, BeforeValidator(_time)]


COLUMNS = tuple(_Row.model_fields)


@dataclass(frozen=True)
class Problem:
    """A line that cannot be taken; lines are numbered from 1, the header included."""

    line: int
    reason: str


@dataclass
class Reading:
    """What a file holds. With any bad line none of it may be used."""

    sha256: bytes = b""
    rows: int = 0
    bad_lines: int = 0
    problems: list[Problem] = field(default_factory=list)
    """The first `MAX_PROBLEMS` of the bad lines."""

    def refuse(self, line: int, reason: str) -> None:
        """Count a bad line."""
        self.bad_lines += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(line, reason))


@dataclass(frozen=True)
class LandedRows:
    """Consecutive rows of a file; all arrays are equally long."""

    first_row: int
    """Number of the first row, from 0; neither the header nor empty lines count."""
    user_id: NDArray[np.int64]
    item_id: NDArray[np.int64]
    rating: NDArray[np.float32]
    time_us: NDArray[np.int64]
    """Microseconds since 1970 UTC."""

    def __len__(self) -> int:
        return len(self.user_id)


def read(file: BinaryIO, spool: BinaryIO, items: Container[int], now: datetime) -> Reading:
    """Check the whole file and write its good rows to ``spool``, for `spooled` to read.

    What is checked, hashed and spooled is read once: a writer that still holds the file open cannot slip in a row
    unseen. ``items`` are the catalogue's ids. Reading ends early at a wrong header or an endless line; the digest
    is of the whole content all the same.
    """
    reading, digest = Reading(), hashlib.sha256()
    columns: tuple[str, ...] = ()
    buffer: list[tuple[int, int, float, int]] = []
    latest = now + timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
    for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
        digest.update(line)
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            reading.refuse(number, f"longer than {MAX_LINE_BYTES} bytes; the rest of the file was not looked at")
            break
        try:
            fields = _fields(line)
            if number == 1:
                columns = _header(fields)
            elif fields:
                buffer.append(_row(fields, columns, items, latest))
                reading.rows += 1
        except _BadLineError as error:
            reading.refuse(number, str(error))
            if not columns:
                break
        if len(buffer) == BLOCK_ROWS:
            spool.write(np.array(buffer, _RECORD).tobytes())
            buffer.clear()
    else:
        if not columns:
            reading.refuse(1, "the file is empty")
    spool.write(np.array(buffer, _RECORD).tobytes())
    while rest := file.read(MAX_LINE_BYTES):
        digest.update(rest)
    reading.sha256 = digest.digest()
    return reading


def spooled(spool: BinaryIO) -> Iterator[LandedRows]:
    """Yield what `read` wrote, in the file's order, in blocks of `BLOCK_ROWS`."""
    spool.seek(0)
    row = 0
    while block := spool.read(BLOCK_ROWS * _RECORD.itemsize):
        records = np.frombuffer(block, _RECORD)
        user_id, item_id, rating, time_us = (np.ascontiguousarray(records[name]) for name in _RECORD.names or ())
        yield LandedRows(row, user_id, item_id, rating, time_us)
        row += len(records)


class _BadLineError(Exception):
    """The line cannot be taken."""


def _fields(line: bytes) -> list[str]:
    # Bytes that are not UTF-8 become visible escapes, which no column takes.
    text = line.rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
    try:
        return next(csv.reader((text,), strict=True), [])
    except csv.Error as error:
        raise _BadLineError(f"not CSV: {error}") from error


def _header(fields: list[str]) -> tuple[str, ...]:
    names = tuple(name.removeprefix("\ufeff").strip() for name in fields)
    if sorted(names) != sorted(COLUMNS):
        raise _BadLineError(f"the columns must be {', '.join(COLUMNS)}, not {', '.join(names) or 'none'}"[:500])
    return names


def _row(
    fields: list[str], columns: tuple[str, ...], items: Container[int], latest: datetime
) -> tuple[int, int, float, int]:
    if len(fields) != len(columns):
        raise _BadLineError(f"{len(fields)} fields instead of {len(columns)}")
    try:
        row = _Row.model_validate_strings(dict(zip(columns, fields, strict=True)))
    except ValidationError as error:
        raise _BadLineError("; ".join(_reason(e["loc"][0], e["input"], e["msg"]) for e in error.errors())) from error
    if row.user_id == PROBE_USER:
        raise _BadLineError(f"user_id {row.user_id}: reserved for the probe")
    if row.item_id not in items:
        raise _BadLineError(f"item_id {row.item_id}: not in the catalogue")
    if row.timestamp < EARLIEST_EVENT_TIME:
        raise _BadLineError(f"timestamp {fields[columns.index('timestamp')]}: before {EARLIEST_EVENT_TIME:%Y-%m-%d}")
    if row.timestamp > latest:
        raise _BadLineError(f"timestamp {fields[columns.index('timestamp')]}: in the future")
    return row.user_id, row.item_id, row.rating, to_microseconds(row.timestamp)


def _reason(column: int | str, text: object, message: str) -> str:
    return f"{column} {str(text)[:100]!r}: {message.removeprefix('Value error, ')}"

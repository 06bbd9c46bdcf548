"""Reads the small files of a MovieLens data set, films and viewers, by column names, with line numbers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from services.importer import csv_rows
from services.importer.text_file import BadLineError, TextBlock, TextFile

DOUBLE_COLON = csv_rows.DOUBLE_COLON
_MAX_VALUE_CHARACTERS = 10_000


class MovieLensError(Exception):
    """The files are not a valid data set; the message names the file and the line."""


@dataclass(frozen=True)
class TableLayout:
    """How a file is read."""

    separator: str
    columns: Sequence[str]
    """Those that there must be; without a header they are all columns, in this order."""
    aliases: Mapping[str, str] | None = None
    """Other names of the columns in a header, in lower case without types and underscores; None: there is no header."""
    optional: Sequence[str] = ()
    """Columns that are read if the header has them."""


@dataclass
class Table:
    """The rows of a file."""

    path: Path
    rows: list[tuple[int, dict[str, str]]]
    """The line, from 1, and the values by column."""
    latin1_lines: int
    """Lines that were not UTF-8."""


def read_table(path: Path, layout: TableLayout) -> Table:
    """Read a file of at most `text_file.MAX_WHOLE_BYTES`. A missing optional column is "" in every row.

    Raises:
        MovieLensError: the file cannot be read, is not text, has other columns, or a row is not whole.
    """
    try:
        with open_regular(path) as file:
            text = TextFile(file)
            rows = list(_rows(text.whole(), layout))
    except BadLineError as error:
        raise MovieLensError(f"{path}, {error}") from error
    return Table(path, rows, text.latin1_lines)


def open_regular(path: Path) -> Any:
    """Open a file for reading bytes; never waits for the other end of a pipe.

    Raises:
        MovieLensError: it is missing, no regular file, or cannot be read.
    """
    try:
        if not path.is_file():
            raise MovieLensError(f"{path} is {'no regular file' if path.exists() else 'missing'}")
        return path.open("rb")
    except OSError as error:
        raise MovieLensError(f"{path} cannot be read: {error.strerror}") from error


def _rows(block: TextBlock, layout: TableLayout) -> Iterator[tuple[int, dict[str, str]]]:
    content, names, first_line = block.content, list(layout.columns), 1
    if layout.aliases is not None:
        header = csv_rows.header_of(content, layout.separator)
        names = [csv_rows.column_name(text, layout.aliases) for text in header]
        content, first_line = content[content.find(b"\n") + 1 :], 2
        wrong = [name for name in layout.columns if names.count(name) != 1]
        if wrong:
            found = ", ".join(text.strip() for text in header) or "none"
            raise BadLineError(1, f"the columns must include {', '.join(wrong)}, each once, and are {found}"[:500])
    separator = layout.separator
    if separator == DOUBLE_COLON and len(names) == 3:
        # A title may hold a separator, or end in a colon: it reaches from the first one to the last one.
        content = re.sub(rb"(?m)^(.*?)::(.*)::(.*)$", b"\\1\x1f\\2\x1f\\3", content.replace(b"\x1f", b"?"))
        content = re.sub(rb"(?m)^([^\x1f\n]*?)::([^\x1f\n]*)$", b"\\1\x1f\\2", content)
        separator = csv_rows.UNIT_SEPARATOR
    wanted = [name for name in (*layout.columns, *layout.optional) if name in names]
    names = [name if name in wanted else f"{number}" for number, name in enumerate(names)]
    multiline = csv_rows.quotes(separator)
    try:
        rows = csv_rows.rows_of(content, separator, names, dict.fromkeys(wanted, pa.string()), multiline=multiline)
    except BadLineError as error:
        raise BadLineError(error.line + first_line - 1, error.reason) from error
    lines = first_line + csv_rows.lines_of(content, multiline=multiline)
    if rows.bad:
        record, reason = min(rows.bad.items())
        raise BadLineError(int(lines[record]), reason)
    columns = [rows.columns[name].to_pylist() for name in wanted]
    missing = dict.fromkeys(layout.optional, "")
    for record, values in zip(rows.record, zip(*columns, strict=True), strict=True):
        if max(map(len, values)) > _MAX_VALUE_CHARACTERS:
            raise BadLineError(int(lines[record]), f"a value is longer than {_MAX_VALUE_CHARACTERS} characters")
        yield int(lines[record]), missing | dict(zip(wanted, values, strict=True))

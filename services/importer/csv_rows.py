"""Parses CSV with Arrow's reader, and tells the line of each row.

With a comma as separator values may be quoted as in RFC 4180, otherwise not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from services.importer.text_file import BadLineError

_csv: Any = pyarrow.csv  # a C extension without types

DOUBLE_COLON = "::"
UNIT_SEPARATOR = "\x1f"  # Arrow takes one character
_LF, _QUOTE = b'\n"'
_STRAY_QUOTE = "stray quotation mark; inside a quoted value it has to be doubled"


@dataclass(frozen=True)
class Rows:
    """The rows of a block; columns and ``record`` are equally long."""

    columns: dict[str, Any]
    """Arrow arrays."""
    record: NDArray[np.int64]
    """The number of each row, from 0, among the rows of the block, bad ones included."""
    bad: dict[int, str] = field(default_factory=dict)
    """Rows with the wrong number of values or wrong quoting, with the reason."""

    @property
    def records(self) -> int:
        """How many rows there are, bad ones included."""
        return len(self.record) + len(self.bad)


def quotes(separator: str) -> bool:
    """Whether values may be quoted."""
    return separator == ","


def header_of(content: bytes, separator: str) -> list[str]:
    """Return the values of the first line.

    Raises:
        BadLineError: it is wrongly quoted.
    """
    line = content[: content.find(b"\n") + 1]
    if quotes(separator) and stray_quote(line, separator) is not None:
        raise BadLineError(1, _STRAY_QUOTE)
    content = _one_character(line, separator)
    if content in (b"", b"\n"):
        return []
    table = _csv.read_csv(
        pa.BufferReader(_guarded(content)),
        read_options=_csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
        parse_options=_parse_options(separator, None),
        convert_options=_csv.ConvertOptions(column_types={f"f{n}": pa.string() for n in range(len(content))}),
    )
    return [str(column[0]) for column in table.columns]


def column_name(text: str, aliases: Mapping[str, str]) -> str:
    """Return the canonical name of a column, whose type after a colon, capitals and underscores don't count.

    >>> column_name(" user_id:token", {"userid": "user_id"}), column_name("userId", {"userid": "user_id"})
    ('user_id', 'user_id')
    """
    name = text.strip()
    return aliases.get(re.sub(r":.*|[_\s]", "", name).lower(), name)


def rows_of(
    content: bytes,
    separator: str,
    names: Sequence[str],
    types: Mapping[str, Any],
    *,
    multiline: bool = False,
) -> Rows:
    """Return the columns in ``types``, out of a block that has the columns ``names``. Empty lines are no rows.

    Args:
        content: Whole lines of UTF-8.
        separator: A comma, a tab, a bar or ``::``.
        names: One of each column.
        types: The Arrow types of the columns that are wanted.
        multiline: Whether a quoted value may hold line breaks. If not, a stray quotation mark spoils its own line.

    Raises:
        BadLineError: with ``multiline``: a stray quotation mark; the line is counted from 1 in the block.
        pyarrow.ArrowInvalid: a value does not have its column's type.
    """
    spoilt: set[int] = set()
    if quotes(separator) and b'"' in content:
        at = stray_quote(content, separator, multiline=multiline)
        if at is not None and multiline:
            raise BadLineError(content.count(b"\n", 0, at) + 1, _STRAY_QUOTE)
        if at is not None:
            content, spoilt = _without_strays(content, separator)
    bad: dict[int, str] = {}

    def skip(row: Any) -> str:
        record = row.number - 1
        bad[record] = _STRAY_QUOTE if record in spoilt else f"{row.actual_columns} fields instead of {len(names)}"
        return "skip"

    content = _one_character(content, separator)
    if not content or (content.isspace() and not content.strip(b"\n")):
        return Rows({name: pa.array([], kind) for name, kind in types.items()}, np.empty(0, np.int64))
    table = _csv.read_csv(
        pa.BufferReader(_guarded(content)),
        read_options=_csv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(content) + 2),
        parse_options=_parse_options(separator, skip, multiline=multiline),
        convert_options=_csv.ConvertOptions(
            column_types=dict(types), include_columns=list(types), null_values=[], check_utf8=False
        ),
    ).combine_chunks()
    columns = {name: _one_chunk(table.column(name), kind) for name, kind in types.items()}
    records = np.arange(len(table) + len(bad))
    return Rows(columns, np.delete(records, list(bad)) if bad else records, bad)


def lines_of(content: bytes, *, multiline: bool = False) -> NDArray[np.int64]:
    """Return the line on which each row begins, counted from 0 in the block."""
    data = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(data == _LF)
    starts = np.concatenate([[0], ends[:-1] + 1])
    begins = ends > starts
    if multiline:
        begins &= np.searchsorted(np.flatnonzero(data == _QUOTE), starts) % 2 == 0
    return np.flatnonzero(begins)


def stray_quote(content: bytes, separator: str, *, multiline: bool = False) -> int | None:
    """Return the position of the first quotation mark that RFC 4180 does not allow where it stands.

    >>> stray_quote(b'1,"a ""b"", c",2\\n', ","), stray_quote(b'1,a "b",2\\n', ","), stray_quote(b'"1\\n', ",")
    (None, 4, 0)
    """
    data = np.frombuffer(b"\n" + content + b"\n", np.uint8)
    marks = np.flatnonzero(data == _QUOTE)
    if len(marks) % 2:
        last = int(marks[-1])
        return _first_stray(data, marks[:-1], separator, multiline, last) - 1
    found = _first_stray(data, marks, separator, multiline, -1)
    return found - 1 if found >= 0 else None


def _first_stray(data: NDArray[np.uint8], marks: NDArray[np.int64], separator: str, multiline: bool, none: int) -> int:
    edge = np.array([ord(separator), _LF, _QUOTE], np.uint8)
    opening, closing = marks[0::2], marks[1::2]
    wrong = ~np.isin(data[opening - 1], edge) | ~np.isin(data[closing + 1], edge)
    if not multiline:
        breaks = np.flatnonzero(data == _LF)
        wrong |= np.searchsorted(breaks, opening) != np.searchsorted(breaks, closing)
    return int(opening[np.argmax(wrong)]) if wrong.any() else none


def _without_strays(content: bytes, separator: str) -> tuple[bytes, set[int]]:
    """Return the block with each wrongly quoted line replaced by a bad row, and the numbers of those."""
    lines, spoilt, record = content.split(b"\n"), set(), 0
    for number, line in enumerate(lines):
        if line and b'"' in line and stray_quote(line, separator) is not None:
            lines[number] = b"?"
            spoilt.add(record)
        record += bool(line)
    return b"\n".join(lines), spoilt


def _one_character(content: bytes, separator: str) -> bytes:
    if separator != DOUBLE_COLON:
        return content
    return content.replace(UNIT_SEPARATOR.encode(), b"?").replace(DOUBLE_COLON.encode(), UNIT_SEPARATOR.encode())


def _guarded(content: bytes) -> bytes:
    """Put an empty line, which is no row, before a byte order mark: Arrow would drop it in every block."""
    return b"\n" + content if content.startswith(b"\xef\xbb\xbf") else content


def _parse_options(separator: str, handler: Any, *, multiline: bool = False) -> Any:
    return _csv.ParseOptions(
        delimiter=UNIT_SEPARATOR if separator == DOUBLE_COLON else separator,
        quote_char='"' if quotes(separator) else False,
        newlines_in_values=multiline,
        invalid_row_handler=handler,
    )


def _one_chunk(column: Any, kind: Any) -> Any:
    return column.chunk(0) if column.num_chunks else pa.array([], kind)

"""Reads a file of ratings twice: the first pass checks every row, the second yields the valid ones.

Both in blocks: bounded memory, no Python loop per row, and a bad row named by its line. The columns are found by their
names in the header, if the form has one. What was checked is what is given out: the second pass compares digests.

Of rows that say the same – viewer, film, time and stars – the last is kept, the others are left out and counted.
Of two ratings of one film by one viewer the later counts, of two at the same time the one further down.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.importer import csv_rows, rating_rules
from services.importer.csv_rows import Rows
from services.importer.duplicate_rows import DuplicateRows
from services.importer.rating_rules import COLUMNS, Ratings, Rules
from services.importer.text_file import BadLineError, TextBlock, TextFile

_STRINGS = dict.fromkeys(COLUMNS, pa.string())
MAX_PROBLEMS = 100
"""Further bad lines are counted, not listed."""
MAX_BAD_LINES = 100_000
"""After this many bad lines the rest of the file is not read."""


@dataclass(frozen=True)
class Layout:
    """How the values of a row are told apart."""

    separator: str
    """A comma, a tab or ``::``."""
    header: bool = True
    """Whether the first line names the columns; without one they are `COLUMNS`, in this order."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of the columns; with any, RecBole's types (``user_id:token``) and capitals are ignored too."""
    others: bool = False
    """Whether there may be other columns, which are ignored."""
    contradictions: bool = True
    """Whether one viewer may give one film different stars at the same time."""


@dataclass(frozen=True)
class Problem:
    """An invalid line; lines are numbered from 1, including the header."""

    line: int
    reason: str


@dataclass
class Checked:
    """The result of checking a file. If any line is bad, none of the file may be used."""

    sha256: bytes = b""
    rows: int = 0
    """Valid rows, duplicates included."""
    duplicates: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Numbers of the rows that a later one repeats, ascending."""
    bad_lines: int = 0
    problems: list[Problem] = field(default_factory=list)
    """The first `MAX_PROBLEMS` of the bad lines."""
    latin1_lines: int = 0
    """Lines that were not UTF-8."""
    marks: list[bytes] = field(default_factory=list)
    """Running digests, by which `blocks` knows the content again."""

    def refuse(self, line: int, reason: str) -> None:
        """Count a bad line."""
        self.bad_lines += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(line, reason))


@dataclass(frozen=True)
class RatingsBlock:
    """Rows of a file, in its order; all arrays are equally long."""

    row: NDArray[np.int64]
    """The number of each row, from 0; neither the header nor empty lines count."""
    user_id: NDArray[np.int64]
    item_id: NDArray[np.int64]
    rating: NDArray[np.float32]
    time_us: NDArray[np.int64]
    """Microseconds since 1970 UTC."""

    def __len__(self) -> int:
        return len(self.row)


@dataclass(frozen=True)
class _Part:
    block: TextBlock
    names: list[str]
    rows: Rows
    ratings: Ratings

    def lines(self) -> NDArray[np.int64]:
        """The number of the line of each row, bad ones included."""
        return self.block.first_line + csv_rows.lines_of(self.block.content)


def check(file: BinaryIO, layout: Layout, rules: Rules) -> Checked:
    """Check the whole file. Blocks; the digest is of the whole content even if reading ends early.

    Args:
        file: Opened for reading bytes; seekable.
        layout: Its form.
        rules: What a valid rating is.

    Raises:
        OSError: the disk fails.
    """
    checked, text, duplicates = Checked(), TextFile(file), DuplicateRows()
    try:
        for part in _parts(text, layout):
            wrong = rules.wrong_rows(part.ratings)
            if part.rows.bad or wrong.any():
                checked.problems += _problems(part, layout, wrong, rules, MAX_PROBLEMS - len(checked.problems))
                checked.bad_lines += len(part.rows.bad) + int(wrong.sum())
                if checked.bad_lines > MAX_BAD_LINES:
                    text.drain()
                    break
            duplicates.add(part.ratings)
            checked.rows += len(wrong) - int(wrong.sum())
    except BadLineError as error:
        checked.refuse(error.line, error.reason)
        text.drain()
    checked.sha256, checked.marks, checked.latin1_lines = text.sha256, text.marks, text.latin1_lines
    if not checked.bad_lines and (suspects := duplicates.suspects()) is not None:
        found = DuplicateRows.resolve(_suspected(file, checked, layout, suspects))
        checked.duplicates = found.repeated
        for line, earlier, what in () if layout.contradictions else found.contradictions:
            checked.refuse(line, f"{what}, but otherwise on line {earlier}, at the same time")
    return checked


def blocks(file: BinaryIO, checked: Checked, layout: Layout) -> Iterator[RatingsBlock]:
    """Yield the rows of a file that `check` found to be good, without the duplicates.

    Raises:
        FileChangedError: the content is another one by now; the blocks before were still the same.
    """
    first = 0
    for part in _parts(TextFile(file, checked.marks), layout):
        row, ratings = first + part.rows.record, part.ratings
        if len(checked.duplicates):
            kept = ~np.isin(row, checked.duplicates)
            row, ratings = row[kept], ratings.at(kept)
        stars = ratings.rating.astype(np.float32)
        yield RatingsBlock(row, ratings.user_id, ratings.item_id, stars, ratings.time_us)
        first += part.rows.records


def _suspected(
    file: BinaryIO, checked: Checked, layout: Layout, suspects: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Ratings]]:
    """Yield the numbers, the lines and the values of the rows that may be duplicates."""
    first = 0
    for part in _parts(TextFile(file, checked.marks), layout):
        at = DuplicateRows.rows_among(part.ratings, suspects)
        if len(at):
            record = part.rows.record[at]
            yield first + record, part.lines()[record], part.ratings.at(at)
        first += part.rows.records


def _problems(part: _Part, layout: Layout, wrong: NDArray[np.bool_], rules: Rules, most: int) -> list[Problem]:
    """Return the first bad lines of a block."""
    lines = part.lines()
    columns = csv_rows.rows_of(part.block.content, layout.separator, part.names, _STRINGS).columns
    reasons = dict(sorted(part.rows.bad.items())[:most])
    for row in np.flatnonzero(wrong)[:most]:
        texts = {name: str(columns[name][int(row)]) for name in COLUMNS}
        reasons[int(part.rows.record[row])] = rules.reason(part.ratings, int(row), texts)
    return [Problem(int(lines[record]), text) for record, text in sorted(reasons.items())[:most]]


def _parts(text: TextFile, layout: Layout) -> Iterator[_Part]:
    names: list[str] | None = None if layout.header else list(COLUMNS)
    for given in text.blocks():
        block = given
        if names is None:
            names = _names(csv_rows.header_of(block.content, layout.separator), layout)
            block = TextBlock(block.content[block.content.find(b"\n") + 1 :], 2)
        try:
            yield _Part(block, names, *_rows(block.content, names, layout))
        except pa.ArrowInvalid as error:
            raise BadLineError(block.first_line, f"from here on: {error}") from error
    if names is None:
        raise BadLineError(1, "the file is empty")


def _rows(content: bytes, names: list[str], layout: Layout) -> tuple[Rows, Ratings]:
    if _plain(content, layout.separator):
        try:
            rows = csv_rows.rows_of(content, layout.separator, names, rating_rules.TYPED)
            return rows, rating_rules.of_numbers(rows.columns)
        except pa.ArrowInvalid:
            pass  # some value is empty, or too long: as strings it can be named
    rows = csv_rows.rows_of(content, layout.separator, names, _STRINGS)
    return rows, rating_rules.of_strings(rows.columns)


def _plain(content: bytes, separator: str) -> bool:
    """Whether the block holds digits and decimal points between digits alone, which Arrow reads as we do."""
    if content.translate(None, b"0123456789.\n" + separator.encode()) or content.startswith(b"."):
        return False
    data = np.frombuffer(content, np.uint8)
    points = np.flatnonzero(data == ord("."))  # none is the last byte, which is a line feed
    return bool((data[points - 1] >= ord("0")).all() and (data[points + 1] >= ord("0")).all())


def _names(header: list[str], layout: Layout) -> list[str]:
    """Return the canonical name of each column; others are numbered."""
    names = [csv_rows.column_name(text, layout.aliases) if layout.aliases else text.strip() for text in header]
    missing = [name for name in COLUMNS if names.count(name) != 1]
    unknown = [] if layout.others else [name for name in names if name not in COLUMNS]
    if missing or unknown:
        found = ", ".join(text.strip() for text in header) or "none"
        raise BadLineError(1, f"the columns must be {', '.join(COLUMNS)}, each once, not {found}"[:500])
    return [name if name in COLUMNS else f"{number}" for number, name in enumerate(names)]

"""Streams a file of ratings in blocks: bounded memory, no Python loop per row, and a bad row named by its line."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

_csv: Any = pyarrow.csv  # a C extension without types

BLOCK_BYTES = 16 * 2**20
_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_TYPES = {"user_id": pa.int64(), "item_id": pa.int64(), "rating": pa.float32(), "timestamp": pa.float64()}
_LATEST_TIMESTAMP = 4_102_444_800  # 2100-01-01


class MovieLensError(Exception):
    """The files are not a valid data set; the message names the file and the line."""


@dataclass(frozen=True)
class RatingsBlock:
    """Consecutive rows of the file; all arrays are equally long."""

    first_row: int
    """Number of the first row, from 0, the header not counted."""
    user_id: NDArray[np.int64]
    item_id: NDArray[np.int64]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.int64]
    """Seconds since 1970 UTC."""

    @property
    def time_us(self) -> NDArray[np.int64]:
        """Microseconds since 1970 UTC."""
        return self.timestamp * 1_000_000

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True)
class RatingsFile:
    """A file of (user, item, rating, timestamp) rows, separated by ``::``, a comma or a tab."""

    path: Path
    separator: str
    header: bool

    def sha256(self) -> bytes:
        """Return the digest of the content."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    def count_rows(self) -> int:
        """Return the number of rows, without parsing them."""
        newlines, last = 0, b"\n"
        with self.path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                newlines += block.count(b"\n")
                last = block[-1:]
        return newlines + (last != b"\n") - self.header

    def blocks(self) -> Iterator[RatingsBlock]:
        """Yield all rows, in the file's order.

        Raises:
            MovieLensError: a row has the wrong number of fields, is not numeric, or a value is out of its range.
        """
        row = 0
        try:
            for batch in self._reader():
                block = _block(row, batch)
                self._check(block)
                row += len(block)
                yield block
        except pa.ArrowInvalid as error:
            raise MovieLensError(self._first_bad_line() or f"{self.path}: {error}") from error

    def _reader(self) -> Any:
        # Arrow takes one character: "::" is a ":" with an empty field after it.
        names = (
            list(_COLUMNS) if self.separator != "::" else ["user_id", "", "item_id", " ", "rating", "  ", "timestamp"]
        )
        return _csv.open_csv(
            self.path,
            read_options=_csv.ReadOptions(
                column_names=names, skip_rows=int(self.header), block_size=BLOCK_BYTES, use_threads=False
            ),
            parse_options=_csv.ParseOptions(delimiter=self.separator[0], quote_char=False),
            convert_options=_csv.ConvertOptions(column_types=_TYPES, include_columns=list(_COLUMNS), null_values=[]),
        )

    def _check(self, block: RatingsBlock) -> None:
        wrong = (
            (block.user_id < 1)
            | (block.item_id < 1)
            | ~((block.rating >= 0.5) & (block.rating <= 5))
            | (block.timestamp < 1)
            | (block.timestamp > _LATEST_TIMESTAMP)
        )
        if wrong.any():
            at = int(np.argmax(wrong))
            raise MovieLensError(
                f"{self.path}, line {block.first_row + at + 1 + self.header}: out of range:"
                f" user {block.user_id[at]}, item {block.item_id[at]}, rating {block.rating[at]:g},"
                f" timestamp {block.timestamp[at]}"
            )

    def _first_bad_line(self) -> str | None:
        """Look for the line that Arrow choked on; only runs when it did."""
        with self.path.open(encoding="latin-1") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\r\n").split(self.separator)
                if (self.header and number == 1) or fields == [""]:
                    continue
                if len(fields) != len(_COLUMNS):
                    return f"{self.path}, line {number}: {len(fields)} fields instead of {len(_COLUMNS)}"
                for name, text in zip(_COLUMNS, fields, strict=True):
                    try:
                        int(text) if name.endswith("_id") else float(text)
                    except ValueError:
                        return f"{self.path}, line {number}: {name} is {text!r}"
        return None


def _block(first_row: int, batch: Any) -> RatingsBlock:
    column = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in _COLUMNS}
    return RatingsBlock(
        first_row, column["user_id"], column["item_id"], column["rating"], column["timestamp"].astype(np.int64)
    )

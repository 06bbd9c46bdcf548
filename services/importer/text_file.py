"""Reads a file of text in blocks of whole lines, whatever wrote it: what comes out is UTF-8 with LF.

Encoding is decided line by line: a line that is not UTF-8 is taken for Windows-1252 (the greater part of Latin-1), and
counted. So one old line in a new file garbles no other, and a byte order mark is no part of the first value.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

BLOCK_BYTES = 4 * 2**20
MAX_WHOLE_BYTES = 256 * 2**20
"""A greater file is not read as a whole."""
_LF = ord("\n")
_BOM = b"\xef\xbb\xbf"
_UTF_16_AND_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


class BadLineError(Exception):
    """From this line on the file cannot be used; lines are numbered from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class FileChangedError(Exception):
    """The content is another one than it was when it was checked."""


@dataclass(frozen=True)
class TextBlock:
    """Whole lines in UTF-8, each ended by LF."""

    content: bytes
    first_line: int
    """Its number in the file, from 1."""


class TextFile:
    """One pass over a file.

    Attributes:
        sha256: of the whole file as it is; known after the last block or `drain`.
        marks: the running digest after each block, of what was read until then.
        latin1_lines: how many lines were not UTF-8.
        first_latin1_line: the first of them, or 0.
    """

    def __init__(self, file: BinaryIO, expected: list[bytes] | None = None) -> None:
        """Read ``file`` from its start.

        Args:
            file: Opened for reading bytes; seekable.
            expected: The marks of an earlier pass: a block that is not the same is not given out.
        """
        file.seek(0)
        self._file = file
        self._digest = hashlib.sha256()
        self._expected = expected
        self.marks: list[bytes] = []
        self.latin1_lines = 0
        self.first_latin1_line = 0

    @property
    def sha256(self) -> bytes:
        """The digest of what was read."""
        return self._digest.digest()

    def drain(self) -> None:
        """Read on to the end, for the digest alone."""
        while raw := self._file.read(BLOCK_BYTES):
            self._digest.update(raw)

    def whole(self) -> TextBlock:
        """Return the whole file as one block.

        Raises:
            BadLineError: it is not text, or too long.
        """
        raw = self._file.read(MAX_WHOLE_BYTES + 1)
        self._digest.update(raw)
        if len(raw) > MAX_WHOLE_BYTES:
            raise BadLineError(1, f"the file is longer than {MAX_WHOLE_BYTES} bytes")
        return TextBlock(self._text(_without_bom(raw), 1), 1)

    def blocks(self) -> Iterator[TextBlock]:
        """Yield all lines in blocks of about `BLOCK_BYTES`; nothing for an empty file.

        Raises:
            BadLineError: it is not text, or a line is longer than `BLOCK_BYTES`.
            FileChangedError: a block is not what ``expected`` says, or there are more or fewer.
            OSError: the disk fails.
        """
        rest, line, number = b"", 1, 0
        while raw := self._file.read(BLOCK_BYTES):
            self._digest.update(raw)
            self._mark(number)
            raw = rest + (_without_bom(raw) if number == 0 else raw)
            number += 1
            end = raw.rfind(b"\n") + 1 or raw.rfind(b"\r", 0, -1) + 1  # a CR at the end may be half of a CRLF
            if not end and len(raw) >= BLOCK_BYTES:
                raise BadLineError(line, f"longer than {BLOCK_BYTES} bytes; the rest of the file was not looked at")
            rest = raw[end:]
            if end:
                block = TextBlock(self._text(raw[:end], line), line)
                line += int(np.count_nonzero(np.frombuffer(block.content, np.uint8) == _LF))
                yield block
        if self._expected is not None and number != len(self._expected):
            raise FileChangedError("the file has become shorter since it was checked")
        if rest:
            yield TextBlock(self._text(rest, line), line)

    def _mark(self, number: int) -> None:
        mark = self._digest.digest()
        self.marks.append(mark)
        if self._expected is not None and self._expected[number : number + 1] != [mark]:
            raise FileChangedError("the file was changed after it was checked")

    def _text(self, raw: bytes, first_line: int) -> bytes:
        if b"\r" in raw:
            raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not raw.endswith(b"\n") and raw:
            raw += b"\n"
        if (nul := raw.find(b"\0")) >= 0:
            line = first_line + raw.count(b"\n", 0, nul)
            raise BadLineError(line, "a NUL character; is the file UTF-16, or no text at all? It must be UTF-8")
        if raw.isascii():
            return raw
        try:
            raw.decode()
        except UnicodeDecodeError:
            return b"\n".join(
                self._utf8(line, number) for number, line in enumerate(raw.split(b"\n"), start=first_line)
            )
        return raw

    def _utf8(self, line: bytes, number: int) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            self.latin1_lines += 1
            self.first_latin1_line = self.first_latin1_line or number
            try:
                return line.decode("cp1252").encode()
            except UnicodeDecodeError:  # five bytes mean nothing in it
                return line.decode("latin-1").encode()
        return line


def _without_bom(start: bytes) -> bytes:
    if start.startswith(_UTF_16_AND_32):
        raise BadLineError(1, "the file is UTF-16 or UTF-32; it must be UTF-8")
    return start.removeprefix(_BOM)

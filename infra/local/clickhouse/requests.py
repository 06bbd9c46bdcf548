"""Reading a request's body: decode it as it comes, find the statement, and put an insert's rows into a file.

Rows go to an unlinked temporary file rather than straight into the engine: an upload that breaks off then inserts
nothing at all, the engine sees the whole insert at once and squashes it into one block (one part), and a process killed
half-way leaves nothing behind.
"""

import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from infra.local.clickhouse.codecs import decoder
from infra.local.clickhouse.statements import MAX_HEAD_BYTES, Insert, Statement, parse


@dataclass(frozen=True)
class ReadBody:
    """The statement of a request and, for an insert with data, the open file of its rows (the caller's to close)."""

    statement: Statement
    rows: IO[bytes] | None = None


async def read_body(url_query: bytes, chunks: AsyncIterator[bytes], content_encoding: str, spool: Path) -> ReadBody:
    """Read all of a body. The text is, as ClickHouse has it, the URL's query, then the body.

    Raises ClickHouseError for a body that cannot be decoded and for no or several statements.
    """
    decode = decoder(content_encoding)
    text = bytearray(url_query)
    found: Insert | None = None
    rows: IO[bytes] | None = None
    try:
        async for chunk in chunks:
            plain = decode.feed(chunk)
            if rows is not None:
                rows.write(plain)
                continue
            if plain and url_query and len(text) == len(url_query):
                text += b"\n"
            text += plain
            if found is None and len(text) <= 2 * MAX_HEAD_BYTES:
                head = parse(bytes(text), complete=False)
                if isinstance(head, Insert):
                    found, rows = head, _new_file(spool, text[head.data_start :])
        decode.finish()
        if rows is None:
            statement = parse(bytes(text), complete=True)
            assert statement is not None  # noqa: S101 - the promise of complete=True
            if not isinstance(statement, Insert):
                return ReadBody(statement)
            found, rows = statement, _new_file(spool, text[statement.data_start :])
        assert found is not None  # noqa: S101 - set together with rows
        rows.flush()
    except BaseException:
        if rows is not None:
            rows.close()
        raise
    return ReadBody(found, rows)


def _new_file(spool: Path, start: bytes | bytearray) -> IO[bytes]:
    file = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - handed to the caller
    file.write(start)
    return file

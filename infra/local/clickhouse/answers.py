"""How a result goes out over HTTP: streamed in bounded memory, or held back until it is known to be whole."""

import asyncio
import json
import logging
import secrets
import tempfile
from collections.abc import Coroutine, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import Receive, Send

from infra.local.clickhouse.codecs import Encoder, choose_encoding, encoder
from infra.local.clickhouse.engine import Engine
from infra.local.clickhouse.errors import ClickHouseError, stream_trailer
from infra.local.clickhouse.protocol import QueryRequest, Statistics, empty_native_block
from infra.local.clickhouse.results import RunningSelect
from infra.local.clickhouse.statements import Select

log = logging.getLogger(__name__)

_INLINE_BYTES = 32 * 1024
"""Compressing up to this much takes less time than handing it to a thread."""
_IN_MEMORY_BYTES = 16 << 20
_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "Parquet": "application/vnd.apache.parquet",
}


def content_type(output_format: str) -> str:
    """The Content-Type of a result in a ClickHouse format."""
    return _CONTENT_TYPES.get(output_format, "application/octet-stream")


@dataclass(frozen=True)
class SelectAnswer:
    """Runs one query and sends its result. The client going away stops the query."""

    engine: Engine
    workers: Executor
    spool: Path
    request: QueryRequest
    select: Select
    accept_encoding: str
    headers: Mapping[str, str]

    async def send(self, receive: Receive, send: Send) -> None:
        """Answer the request, whose body has been read. Raises ClickHouseError only while nothing has been sent."""
        context = self.request.context
        running = await RunningSelect.start(
            self.engine, self.workers, self.select, context, self.request.default_format
        )
        answer = self._send_whole if self.request.wait_end_of_query else self._stream
        try:
            await unless_disconnected(receive, answer(running, send))
        finally:
            await running.close()

    async def _stream(self, running: RunningSelect, send: Send) -> None:
        tag = secrets.token_hex(8)
        encoding, encode = self._encoding()
        chunk = await running.read()
        if not chunk:
            await running.statistics()
            chunk = await self._empty_result()
        start = self._start(Statistics(), encoding) | {"X-ClickHouse-Exception-Tag": tag}
        await send({"type": "http.response.start", "status": 200, "headers": _raw(start)})
        while chunk:
            await _send_chunk(send, await _encoded(encode, chunk))
            chunk = await running.read()
        try:
            await running.statistics()
        except ClickHouseError as error:
            message = error.message(self.engine.version)
            log.warning("query %s failed after its first bytes were sent: %s", self.request.query_id, message)
            await _send_chunk(send, encode.feed(stream_trailer(message, tag)) + encode.finish())
            return  # without the last chunk: the HTTP server then cuts the connection, as ClickHouse does
        await send({"type": "http.response.body", "body": encode.finish(), "more_body": False})

    async def _send_whole(self, running: RunningSelect, send: Send) -> None:
        encoding, encode = self._encoding()
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self.spool)) as held:
            empty = True
            while chunk := await running.read():
                empty = False
                held.write(await _encoded(encode, chunk))
            statistics = await running.statistics()
            held.write(encode.feed(await self._empty_result() if empty else b"") + encode.finish())
            start = self._start(statistics, encoding) | {"Content-Length": str(held.tell())}
            held.seek(0)
            await send({"type": "http.response.start", "status": 200, "headers": _raw(start)})
            while chunk := held.read(1 << 20):
                await _send_chunk(send, chunk)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _format(self) -> str:
        return self.select.format or self.request.default_format

    def _encoding(self) -> tuple[str, Encoder]:
        name = choose_encoding(self.accept_encoding) if self.request.may_compress else ""
        return name, encoder(name)

    def _start(self, statistics: Statistics, encoding: str) -> dict[str, str]:
        result = {
            "Content-Type": content_type(self._format()),
            "X-ClickHouse-Format": self._format(),
            "X-ClickHouse-Summary": statistics.header(),
        }
        return {**self.headers, **result, **({"Content-Encoding": encoding} if encoding else {})}

    async def _empty_result(self) -> bytes:
        """The header block that the server sends, and the engine's file output does not, when a query finds no rows."""
        if self._format().lower() != "native" or not self.select.is_query:
            return b""
        sql = b"SELECT * FROM (\n" + self.select.head + b"\n) LIMIT 0"
        loop = asyncio.get_running_loop()
        try:
            described = await loop.run_in_executor(
                self.workers, lambda: self.engine.run(sql, self.request.context, output_format="JSON")
            )
        except ClickHouseError:
            return b""  # two columns of one name, for one: allowed in a result, not in a subquery
        return empty_native_block((column["name"], column["type"]) for column in json.loads(described.body)["meta"])


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``, but abandon it if the client leaves first. The request's body must have been read."""
    task = asyncio.create_task(work)
    gone = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        for other in (task, gone):
            other.cancel()
        await asyncio.wait({task, gone})


async def _encoded(encode: Encoder, chunk: bytes) -> bytes:
    if len(chunk) <= _INLINE_BYTES:
        return encode.feed(chunk)
    return await asyncio.to_thread(encode.feed, chunk)


async def _send_chunk(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]

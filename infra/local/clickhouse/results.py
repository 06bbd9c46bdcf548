"""A query's result as it is made: the engine writes into a pipe, the event loop reads the other end.

The pipe bounds memory (the engine waits when the client is slow) and carries every output format, headers and footers
included. The engine does not stop by itself when its reader has gone, so leaving early kills the query.
"""

import asyncio
import contextlib
import fcntl
import os
import uuid
from concurrent.futures import Executor

from infra.local.clickhouse.engine import Engine, QueryResult
from infra.local.clickhouse.errors import ClickHouseError
from infra.local.clickhouse.protocol import QueryContext, Statistics
from infra.local.clickhouse.statements import Select

_CHUNK_BYTES = 1 << 20
_KILL_EVERY_SECONDS = 0.1


class RunningSelect:
    """A started query. ``read`` until it gives b"", then ``statistics``; always ``close`` (done early, it cancels)."""

    def __init__(
        self, engine: Engine, reader: asyncio.StreamReader, transport: asyncio.ReadTransport, marker: str
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._transport = transport
        self._marker = marker
        self._query: asyncio.Future[QueryResult]

    @classmethod
    async def start(
        cls, engine: Engine, workers: Executor, select: Select, context: QueryContext, default_format: str
    ) -> "RunningSelect":
        """Begin the query on one of ``workers``; errors in it appear in ``statistics``, not here."""
        loop = asyncio.get_running_loop()
        read_end, write_end = os.pipe()
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # over the user's pipe allowance: the default size works too
                fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)
        reader = asyncio.StreamReader(limit=_CHUNK_BYTES)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        running = cls(engine, reader, transport, f"select:{uuid.uuid4()}")
        sql = select.into(f"/dev/fd/{write_end}", default_format, running._marker)

        def run() -> QueryResult:
            try:
                return engine.run(sql, context)
            finally:
                os.close(write_end)  # the reader sees the end once the engine has closed its own handle, too

        running._query = loop.run_in_executor(workers, run)
        return running

    async def read(self) -> bytes:
        """The next bytes of the result, as soon as there are any; b"" at its end, be it a good or a bad one."""
        return await self._reader.read(_CHUNK_BYTES)

    async def statistics(self) -> Statistics:
        """Wait for the query to end. Raises ClickHouseError if it failed."""
        return (await asyncio.shield(self._query)).statistics

    async def close(self) -> None:
        """Let go of the pipe; if the query still runs, kill it and wait until it has stopped."""
        self._transport.close()
        while not self._query.done():
            # Again and again: a query is not yet listed, and so not killed, in the moment that it starts.
            await asyncio.to_thread(self._engine.kill, self._marker)
            await asyncio.wait([self._query], timeout=_KILL_EVERY_SECONDS)
        with contextlib.suppress(ClickHouseError, asyncio.CancelledError):
            self._query.result()

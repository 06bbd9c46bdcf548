"""The HTTP front: an ASGI application that speaks ClickHouse's HTTP interface over the engine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from infra.local.clickhouse import browsers
from infra.local.clickhouse.access import READER
from infra.local.clickhouse.answers import SelectAnswer, content_type
from infra.local.clickhouse.engine import Engine, QueryResult
from infra.local.clickhouse.errors import ClickHouseError, Code, raised
from infra.local.clickhouse.protocol import Account, QueryRequest, authenticated
from infra.local.clickhouse.requests import ReadBody, read_body
from infra.local.clickhouse.statements import Command, Insert, Select

log = logging.getLogger(__name__)

MAX_QUERIES = 64
_DISPLAY_NAME = "movierecs-local"
_MAX_FORM_FIELD_BYTES = 16 << 20
_DRAIN_SECONDS = 10


class ClickHouseHttp:
    """``/ping``, ``/replicas_status`` and ``/`` of ClickHouse's HTTP interface, for ``accounts``, under the
    host ``names``.

    The event loop only moves bytes; statements run on worker threads, at most ``MAX_QUERIES`` at a time (code 202
    beyond). ``spool`` is a directory for uploads and held-back results.
    """

    def __init__(
        self, engine: Engine, accounts: Collection[Account], spool: Path, names: Collection[str] = browsers.OWN_NAMES
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._names = names
        self._spool = spool
        # Twice as many threads as queries: an empty result asks the engine once more, from inside its query's place.
        self._workers = ThreadPoolExecutor(2 * MAX_QUERIES, thread_name_prefix="query")
        self._queries = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; whatever goes wrong before the first byte becomes ClickHouse's error answer."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(receive, send)
        request = Request(scope, exchange.receive)
        headers = {"X-ClickHouse-Server-Display-Name": _DISPLAY_NAME}
        try:
            browsers.check(request.headers, self._names)
            if scope["path"] in {"/ping", "/replicas_status"} or _is_greeting(request):
                await PlainTextResponse("Ok.\n", headers=headers)(scope, receive, send)
            elif scope["path"] != "/":
                await PlainTextResponse(f"There is no handle {scope['path']}\n", 404, headers)(scope, receive, send)
            else:
                await self._query(request, exchange.send, headers)
        except ClientDisconnect:
            log.info("a client left before its request was complete; nothing was run")
        except Exception as error:
            if exchange.answered:
                raise
            failed = error if isinstance(error, ClickHouseError) else None
            if failed is None:
                log.exception("a request failed inside the front")
                failed = raised(Code.UNKNOWN_EXCEPTION, f"{type(error).__name__}: {error}.")
            await self._send_error(request, failed, headers, exchange)

    async def _query(self, request: Request, send: Send, headers: dict[str, str]) -> None:
        account = authenticated(self._accounts, request.headers, request.query_params)
        asked, body = await self._read(request, account)
        headers["X-ClickHouse-Query-Id"] = asked.query_id
        headers["X-ClickHouse-Timezone"] = self._engine.timezone
        try:
            with self._admitted():
                await self._answer(request, asked, body, send, headers)
        finally:
            if body.rows is not None:
                body.rows.close()

    async def _answer(
        self, request: Request, asked: QueryRequest, body: ReadBody, send: Send, headers: Mapping[str, str]
    ) -> None:
        match body.statement:
            case Select(kills=True) if asked.context.role == READER:
                raise raised(Code.ACCESS_DENIED, "A user who only reads may not end other queries.")
            case Select() as select:
                accept = request.headers.get("accept-encoding", "")
                answer = SelectAnswer(self._engine, self._workers, self._spool, asked, select, accept, headers)
                await answer.send(request.receive, send)
                return
            case Insert() as insert if body.rows is not None:
                result = await self._run(insert.from_file(f"/dev/fd/{body.rows.fileno()}"), asked)
            case Command(text=text, for_session=for_session):
                if for_session and asked.session_id:
                    reason = (
                        "The local ClickHouse keeps no session state: send settings and the database with each query."
                    )
                    raise raised(Code.NOT_IMPLEMENTED, reason)
                result = await self._run(text, asked)
            case _:
                raise AssertionError(body.statement)
        told = {**headers, "X-ClickHouse-Summary": result.statistics.header()}
        if result.body:
            told["X-ClickHouse-Format"] = asked.default_format
        response = Response(result.body, headers=told, media_type=content_type(asked.default_format))
        await response(request.scope, request.receive, send)

    async def _run(self, sql: bytes, asked: QueryRequest) -> QueryResult:
        """Run a statement that changes something: to its end, whether or not the client stays."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._workers, lambda: self._engine.run(sql, asked.context, output_format=asked.default_format)
        )

    async def _read(self, request: Request, account: Account) -> tuple[QueryRequest, ReadBody]:
        url = request.query_params.multi_items()
        encoding = request.headers.get("content-encoding", "")
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_part_size=_MAX_FORM_FIELD_BYTES) as form:
                for name, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        reason = f"The local ClickHouse does not take external tables ({name})."
                        raise raised(Code.NOT_IMPLEMENTED, reason)
                    url.append((name, value))
            asked = QueryRequest.of(account, request.method, request.headers, url)
            return asked, await read_body(asked.query, _nothing(), "", self._spool)
        asked = QueryRequest.of(account, request.method, request.headers, url)
        return asked, await read_body(asked.query, request.stream(), encoding, self._spool)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._queries >= MAX_QUERIES:
            reason = f"Too many simultaneous queries. Maximum: {MAX_QUERIES}."
            raise raised(Code.TOO_MANY_SIMULTANEOUS_QUERIES, reason)
        self._queries += 1
        try:
            yield
        finally:
            self._queries -= 1

    async def _send_error(
        self, request: Request, error: ClickHouseError, headers: dict[str, str], exchange: "_Exchange"
    ) -> None:
        message = error.message(self._engine.version)
        log.warning("query %s failed: %s", headers.get("X-ClickHouse-Query-Id", "-"), message)
        told = {**headers, "X-ClickHouse-Exception-Code": str(error.code)}
        try:
            # An answer sent while the client still uploads would reach it as a broken connection.
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not exchange.body_read:
                    await exchange.receive()
        except TimeoutError:
            told["Connection"] = "close"
        await PlainTextResponse(message + "\n", error.status, told)(request.scope, exchange.receive, exchange.send)


class _Exchange:
    """One request's two channels, remembering how far each has come."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.body_read = False
        self.answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.body_read = self.body_read or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        self.answered = True
        await self._send(message)


def _is_greeting(request: Request) -> bool:
    return request.method == "GET" and request.url.path == "/" and "query" not in request.query_params


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""

"""Limits per connection, where its bytes arrive: size and time of headers and body; and on the number of connections.

uvicorn's fast parser (httptools) has no such limits. They are added at its callbacks, at next to no cost
(`tests.bench.bench_http` compares).
"""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from services.contracts.rest import PROBLEM_MEDIA_TYPE, Problem

MAX_HEADER_BYTES: Final = 16 << 10
"""Request line and headers together."""
MAX_HEADERS: Final = 100
MAX_WIRE_BYTES: Final = 8 << 20
"""A body as sent, with framing: 1 MiB in chunks of one byte is 6 MiB. Routes allow far less."""
MAX_PIPELINED: Final = 16
"""Requests of one connection that wait behind the one being answered."""
MAX_CONNECTIONS: Final = 512
HEADER_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 30.0
"""How long a client may leave a ready answer unread."""
KEEP_ALIVE_SECONDS: Final = 5
_LINGER_SECONDS: Final = 2.0
_SWEEP_SECONDS: Final = 0.5
_SWEEPER: Final = "movierecs.sweeper"
log = logging.getLogger(__name__)


class _RefusedError(Exception):
    """Raised while parsing; the parser turns it into an `httptools.HttpParserError`."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. Exceeding a limit gets an answer that names it, and closes the connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_head = True
        self._chunk = 0
        self._earlier = 0
        """Bytes of the current head or body, not counting the chunk in which it began."""
        self._since: float | None = self.loop.time()
        """When waiting for the rest of a request began; None: not waiting for the client."""
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._lingers = False
        self._unsent, self._unsent_since = 0, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection. When there are too many, the one waited for longest is closed."""
        super().connection_made(transport)
        _Sweeper.ensure(self.server_state, self.loop)
        if len(self.connections) > MAX_CONNECTIONS and not self._make_room():
            transport.write(_answer(HTTPStatus.SERVICE_UNAVAILABLE, "There are too many connections."))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._since = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data, unless the connection is only kept open for the client to read the refusal."""
        if self._lingers:
            return
        self._unset_keepalive_if_required()
        if self._since is None and self._in_head:  # the first byte of the next request
            self._since = self.loop.time()
        self._chunk = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (HTTPStatus.BAD_REQUEST, "This is not HTTP/1.1.")))
            return
        except httptools.HttpParserUpgrade:  # not supported; the parser takes no other request on this connection
            self._since = None
            self.cycle.keep_alive = False
            return
        self._earlier += self._chunk
        if self._in_head and (
            self._earlier > MAX_HEADER_BYTES or (self._chunk > MAX_HEADER_BYTES and self._head_bytes > MAX_HEADER_BYTES)
        ):
            self._refuse(*_HEAD_TOO_LARGE)
        elif self._earlier > MAX_WIRE_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body takes more than {MAX_WIRE_BYTES} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; the trailers of a chunked body are ignored."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, if its head is within the limits."""
        if self._head_bytes > MAX_HEADER_BYTES:
            raise self._refused(*_HEAD_TOO_LARGE)
        if self.url[:1] != b"/":  # absolute form, for proxies, with a host that would not be checked
            raise self._refused(HTTPStatus.BAD_REQUEST, "The request's target must be a path.")
        if len(self.headers) > MAX_HEADERS:
            raise self._refused(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"There are more than {MAX_HEADERS} headers."
            )
        if len(self.pipeline) >= MAX_PIPELINED:
            raise self._refused(HTTPStatus.TOO_MANY_REQUESTS, f"More than {MAX_PIPELINED} requests wait for an answer.")
        self._in_head, self._earlier, self._since = False, -self._chunk, self.loop.time()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop waiting for the client."""
        self._in_head, self._earlier, self._since = True, -self._chunk, None
        super().on_message_complete()

    @property
    def _head_bytes(self) -> int:
        """The size of the head parsed so far."""
        return len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])

    def sweep(self, now: float) -> None:
        """End requests that take too long."""
        if self._since is None or self.transport.is_closing():
            self._watch_unsent(now)
            return
        waited = now - self._since
        if self._lingers:
            if waited > _LINGER_SECONDS:
                self.transport.abort()
        elif self._in_head:
            if waited > HEADER_SECONDS:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The headers took longer than {HEADER_SECONDS:g} s.")
        elif self.flow.read_paused:
            self._since = now  # the route does not read the body yet: not the client's fault
        elif waited > BODY_SECONDS:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, f"The body took longer than {BODY_SECONDS:g} s.")

    def _watch_unsent(self, now: float) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or unsent == 0:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > ANSWER_SECONDS:
            self.transport.abort()

    def _make_room(self) -> bool:
        waiting = [c for c in self.connections if isinstance(c, LimitedProtocol) and c is not self and c.waits]
        if waiting:
            min(waiting, key=lambda c: c.since).transport.abort()
        return bool(waiting)

    @property
    def waits(self) -> bool:
        """Whether the connection is idle or waits for the client."""
        idle = self.timeout_keep_alive_task is not None
        return (idle or self._since is not None) and not self.transport.is_closing()

    @property
    def since(self) -> float:
        """When waiting began; idle connections come first."""
        return self._since or 0.0

    def _refused(self, status: HTTPStatus, detail: str) -> _RefusedError:
        self._refusal = (status, detail)
        return _RefusedError(detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer, unless another answer has begun, and close once the client can have read it."""
        log.info("refused a connection", extra={"status": int(status), "reason": detail})
        self._unset_keepalive_if_required()
        running = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (running and self.cycle.response_started):
            self.transport.abort()
            return
        if running:  # its request ends here; the rest of its answer is discarded
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self._in_head or running:  # otherwise it is the body of a request that has been answered
            self.transport.write(_answer(status, detail))
        self.transport.write_eof()
        # Closing with unread bytes would send a reset, which may overtake the answer.
        self._lingers, self._since = True, self.loop.time()
        self.flow.resume_reading()


_HEAD_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request's headers take more than {MAX_HEADER_BYTES} bytes.",
)


class _Sweeper:
    """Checks every connection twice a second, which is cheaper than a timer for each request."""

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._state, self._loop = state, loop
        self._sweep()

    @classmethod
    def ensure(cls, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """Ensure that one runs for the server."""
        if getattr(state, _SWEEPER, None) is None:
            setattr(state, _SWEEPER, cls(state, loop))

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self._state.connections):
            if isinstance(connection, LimitedProtocol):
                connection.sweep(now)
        if self._state.connections:
            self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        else:
            setattr(self._state, _SWEEPER, None)


def _answer(status: HTTPStatus, detail: str) -> bytes:
    body = json.dumps(Problem(title=status.phrase, status=status, detail=detail).model_dump()).encode()
    return (
        STATUS_LINE[status]
        + f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
        + body
    )

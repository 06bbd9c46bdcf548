"""Around every request: its ids, its metrics and its log line, and a last net for errors nobody expected."""

import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common import tracing
from services.contracts.logs import log_context
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT, TraceContext, parse
from services.inference.metrics import Metrics

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_LOGGED = ("/metrics", "/health")
"""Asked every few seconds by machines; an error of theirs is logged by itself."""
log = logging.getLogger(__name__)


def request_id_of(request: Request) -> str | None:
    """Return the request's id: the client's own when it is well-formed, else one made here."""
    value = request.scope.get("movierecs.request_id")
    return None if value is None else str(value)


def trace_of(request: Request) -> TraceContext:
    """Return the place in the trace that belongs to the request."""
    found: TraceContext = request.scope["movierecs.trace"]
    return found


class RequestContext:
    """ASGI middleware; ``on_error`` makes the answer to an unexpected exception from the request's id."""

    def __init__(self, app: ASGIApp, metrics: Metrics, on_error: Callable[[str], Response]) -> None:
        self._app = app
        self._metrics = metrics
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["movierecs.request_id"] = _request_id(scope)
        if scope["path"].startswith(_NOT_LOGGED):
            await self._answer(scope, receive, send, request_id)
            return
        above = parse(_header(scope, TRACEPARENT))
        with tracing.span(scope["method"], above, kind="server") as trace:
            scope["movierecs.trace"] = trace
            with log_context(trace_id=trace.trace_id, request_id=request_id):
                start = time.perf_counter()
                status = await self._answer(scope, receive, send, request_id)
                log.log(
                    logging.WARNING if status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO,
                    "answered",
                    extra={
                        "route": _route(scope),
                        "method": scope["method"],
                        "status": status,
                        "ms": round((time.perf_counter() - start) * 1000, 2),
                    },
                )

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        """Answer and measure; return the status."""
        status = 0
        start = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID_HEADER.encode(), request_id.encode()))
            await send(message)

        with self._metrics.requests_in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("unexpected error", extra={"request_id": request_id, "path": scope["path"]})
                if status:
                    raise  # the answer has begun; the server cuts the connection
                await self._on_error(request_id)(scope, receive, send_with_id)
        labels = (_route(scope), scope["method"], str(status))
        self._metrics.request_seconds.labels(*labels).observe(time.perf_counter() - start)
        return status


def _route(scope: Scope) -> str:
    return getattr(scope.get("route"), "path", "unmatched")


def _request_id(scope: Scope) -> str:
    given = _header(scope, REQUEST_ID_HEADER)
    return given if _SAFE_ID.fullmatch(given) else str(uuid4())


def _header(scope: Scope, name: str) -> str:
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), "")

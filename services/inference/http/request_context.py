"""Middleware around every request: ids, metrics, log line, and the handler of unexpected errors."""

import logging
import re
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus

from opentelemetry.trace import SpanContext, SpanKind
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common import tracing
from services.contracts.ids import request_uuid
from services.contracts.logs import TRACE_ID, log_context
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT
from services.inference.metrics import Metrics

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT, _REQUEST_ID = TRACEPARENT.encode(), REQUEST_ID_HEADER.encode()
SLOW_SECONDS = 0.5
_HEALTH = "/health"
"""Polled every few seconds by machines, which report problems themselves."""
log = logging.getLogger(__name__)


def request_id_of(request: Request) -> str | None:
    """Return the request's id: the client's if it is well-formed, else a new one."""
    value = request.scope.get("movierecs.request_id")
    return None if value is None else str(value)


def trace_of(request: Request) -> SpanContext:
    """Return the span context of the request; invalid when it belongs to no trace."""
    found: SpanContext = request.scope["movierecs.trace"]
    return found


def kafka_headers(request: Request, place: SpanContext) -> dict[str, str]:
    """Return the trace headers for records that the request produces.

    Empty when the trace is not sampled.
    """
    if not place.trace_flags.sampled:
        return {}
    return {**tracing.inject(place), REQUEST_ID_HEADER: request_id_of(request) or ""}


class RequestContext:
    """ASGI middleware; ``on_error`` makes the answer to an unexpected exception from the request's id.

    It runs for every request, so it has to be cheap; `tests.bench.bench_observability` measures it.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, on_error: Callable[[str], Response]) -> None:
        self._app = app
        self._metrics = metrics
        self._on_error = on_error
        self._seconds: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given_trace, given_id = _given(scope["headers"])
        with tracing.span(scope["method"], tracing.extract(given_trace), kind=SpanKind.SERVER) as place:
            ids = {TRACE_ID: tracing.trace_id(place)} if place.is_valid else {}
            # Without an id from the client, the trace id is the request id.
            request_id = given_id if _SAFE_ID.fullmatch(given_id) else ids.get(TRACE_ID) or request_uuid().hex
            scope["movierecs.trace"], scope["movierecs.request_id"] = place, request_id
            with log_context(**ids, request_id=request_id):
                await self._answer(scope, receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        status = 0
        start = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((_REQUEST_ID, request_id.encode()))
            await send(message)

        with self._metrics.requests_in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                log.debug("the client hung up", extra={"path": scope["path"]})
                return  # neither refused nor failed: no answer to count
            except Exception:
                log.exception("unexpected error", extra={"path": scope["path"]})
                if status:
                    raise  # the answer has begun; the server cuts the connection
                await self._on_error(request_id)(scope, receive, send_with_id)
        self._note(scope, status, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = getattr(scope.get("route"), "path", "unmatched"), scope["method"]
        labels = (route, method, status)
        histogram = self._seconds.get(labels)
        if histogram is None:
            histogram = self._seconds[labels] = self._metrics.request_seconds.labels(route, method, str(status))
        histogram.observe(seconds)
        if scope["path"].startswith(_HEALTH):
            return
        level = _level(status, seconds, scope["movierecs.trace"])
        if log.isEnabledFor(level):
            extra = {"route": route, "method": method, "status": status, "ms": round(seconds * 1000, 2)}
            log.log(level, "answered", extra=extra)


def _level(status: int, seconds: float, place: SpanContext) -> int:
    """Return the log level for the request; metrics count all requests."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.WARNING
    return (
        logging.INFO
        if place.trace_flags.sampled or status >= HTTPStatus.BAD_REQUEST or seconds >= SLOW_SECONDS
        else logging.DEBUG
    )


def _given(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str]:
    """Return the client's own `traceparent` and request id, or '' for each that is not given."""
    trace = request_id = b""
    for name, value in headers:
        if name == _TRACEPARENT:
            trace = value
        elif name == _REQUEST_ID:
            request_id = value
    return trace.decode("latin-1"), request_id.decode("latin-1")

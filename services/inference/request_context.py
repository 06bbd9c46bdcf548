"""Around every request: an id in and out, metrics by route template, and a last net for errors nobody expected."""

import logging
import re
import time
from collections.abc import Callable
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.inference.metrics import Metrics

REQUEST_ID_HEADER = "X-Request-Id"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
log = logging.getLogger(__name__)


def request_id_of(request: Request) -> str | None:
    """Return the request's id: the client's own when it is well-formed, else one made here."""
    value = request.scope.get("movierecs.request_id")
    return None if value is None else str(value)


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
        request_id = self._id(scope)
        scope["movierecs.request_id"] = request_id
        status = 0
        start = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((REQUEST_ID_HEADER.lower().encode(), request_id.encode()))
            await send(message)

        with self._metrics.requests_in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("unexpected error", extra={"request_id": request_id, "path": scope["path"]})
                if status:
                    raise  # the answer has begun; the server cuts the connection
                await self._on_error(request_id)(scope, receive, send_with_id)
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.request_seconds.labels(route, scope["method"], str(status)).observe(time.perf_counter() - start)

    @staticmethod
    def _id(scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == REQUEST_ID_HEADER.lower().encode():
                text: str = value.decode("latin-1")
                if _SAFE_ID.fullmatch(text):
                    return text
        return str(uuid4())

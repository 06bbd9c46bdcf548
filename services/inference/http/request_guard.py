"""Middleware before the routes: the origin guard, JSON bodies only, and `HEAD` wherever there is `GET`."""

from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.contracts.origin_guard import OriginGuard
from services.contracts.rest import FieldError
from services.inference.http.problems import ProblemError, respond

JSON = "application/json"
_DATA = "/v1/"
_PROTECTION = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-resource-policy", b"same-origin")]
"""Other sites' pages may not embed answers, not even as images or scripts."""


class RequestGuard:
    """ASGI middleware. Refuses foreign hosts and pages (421, 403) and bodies that are not plain JSON (415)."""

    def __init__(self, app: ASGIApp, guard: OriginGuard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).extend(_PROTECTION)
            elif bodiless:
                message = {**message, "body": b""}
            await send(message)

        bodiless = scope["method"] == "HEAD"
        error = self._refusal(scope)
        if error is not None:
            response = respond(error.problem(scope.get("movierecs.request_id")))
            await response(scope, receive, protected)
            return
        if not bodiless:
            await self._app(scope, receive, protected)
            return
        asked = {**scope, "method": "GET", "movierecs.head": True}
        await self._app(asked, receive, protected)
        scope["route"] = asked.get("route")

    def _refusal(self, scope: Scope) -> ProblemError | None:
        reached = scope["server"][0] if scope.get("server") else ""
        # Other sites may link to /docs and /metrics, but not to data: requesting a list records an impression.
        may_be_linked = scope["method"] in {"GET", "HEAD"} and not scope["path"].startswith(_DATA)
        refusal = self._guard.refusal(scope["headers"], reached, may_be_linked=may_be_linked)
        if refusal is not None:
            return _named(refusal.status, refusal.header, refusal.reason)
        return None if scope["method"] in {"GET", "HEAD"} else body_refusal(scope)


def is_head(scope: Scope) -> bool:
    """Whether the request is a HEAD, whose answer has no body."""
    return "movierecs.head" in scope


def body_refusal(scope: Scope, *, required: bool = False) -> ProblemError | None:
    """Return the 415 unless the body is plain JSON in UTF-8, or missing and not ``required``."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        values.setdefault(name, []).append(value)
    is_empty = values.get(b"content-length", [b"0"]) == [b"0"] and b"transfer-encoding" not in values
    if is_empty and not required:
        return None
    if values.get(b"content-encoding", [b"identity"]) != [b"identity"]:
        return _named(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding", "must not be given: bodies are not encoded"
        )
    kinds = values.get(b"content-type", [])
    if len(kinds) != 1 or not _is_json(kinds[0].decode("latin-1")):
        return _named(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", f"must be {JSON}")
    return None


def _is_json(content_type: str) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    return kind == JSON and all(parameter in {"", "charset=utf-8", 'charset="utf-8"'} for parameter in parameters)


def _named(status: HTTPStatus, header: str, message: str) -> ProblemError:
    return ProblemError(status, f"{header} {message}", errors=[FieldError(field=header, message=message)])

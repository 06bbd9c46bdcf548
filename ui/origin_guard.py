"""The demo's origin guard: it stands before everything that Streamlit serves, WebSockets too."""

from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.contracts.origin_guard import OriginGuard


class OriginGuardMiddleware:
    """ASGI middleware. Other sites may link here, but their pages may not send requests."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._guard = OriginGuard(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        answer = self._app
        if scope["type"] in {"http", "websocket"}:
            refusal = self._guard.refusal(scope["headers"], scope["server"][0], may_be_linked=True)
            if refusal:
                answer = PlainTextResponse(f"{refusal.header} {refusal.reason}\n", refusal.status)
        await answer(scope, receive, send)

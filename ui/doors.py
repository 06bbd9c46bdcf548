"""Whom the demo listens to: requests that were addressed to it, and that no foreign page made a browser send.

A page cannot choose the headers `Host` and `Origin`: the first gives away a name that was pointed at our address (DNS
rebinding), the second that the page is not ours. The services have the same rule; the demo knows the contracts alone.
"""

from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MAPPED = "::ffff:"
"""How a socket for both kinds of address writes an IPv4 address."""


def is_ours(host: str, reached: str, names: frozenset[str]) -> bool:
    """Return whether the header `Host` names this server.

    Args:
        host: the header.
        reached: the address at which the connection arrived. Whoever asks for an address and not for a name cannot have
            been misled about the name: probes and scrapers ask like that.
        names: the configured ones, in lower case.
    """
    name, colon, port = host.lower().rpartition(":")
    bare = name if colon and port.isdecimal() else host.lower()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    return bare in _LOOPBACK | names | {reached.removeprefix(_MAPPED)}


class Doors:
    """ASGI middleware before all that Streamlit serves, WebSockets too."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421 or 403."""
        refusal = self._refusal(scope) if scope["type"] in {"http", "websocket"} else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        hosts, origins = (list(_values(scope["headers"], name)) for name in (b"host", b"origin"))
        if len(hosts) != 1 or not is_ours(hosts[0], scope["server"][0], self._names):
            return PlainTextResponse("Host is not a name of this server.\n", 421)
        if not {origin.lower() for origin in origins} <= {f"{scheme}://{hosts[0].lower()}" for scheme in _SCHEMES}:
            return PlainTextResponse("Origin is foreign: other pages may not send requests here.\n", 403)
        return None


_SCHEMES = ("http", "https")
"""With TLS, a proxy before the demo ends it."""


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> Iterable[str]:
    return (value.decode("latin-1") for name, value in headers if name == wanted)

"""Origin guard: refuses requests that another site's page made a browser send (DNS rebinding, cross-site requests).

Any page can make its visitor's browser send requests to 127.0.0.1 and to private networks, but it cannot set the
headers `Host`, `Origin` and `Sec-Fetch-*`. `Host` reveals a foreign name that resolves to our address (DNS rebinding);
the others reveal a foreign page. Programs other than browsers send neither `Origin` nor `Sec-Fetch-Site`.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?")
_OURS = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of our own pages, and of what the user typed or bookmarked."""
_WATCHED = frozenset({b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"})
_NAME = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:]+")
_REMEMBERED = 100
_MAPPED = "::ffff:"
"""The prefix of an IPv4 address on a dual-stack socket."""


def host_names(listed: str) -> frozenset[str]:
    """Return the names of a comma-separated list, in lower case.

    >>> sorted(host_names(" API, 10.0.0.1,::1,"))
    ['10.0.0.1', '::1', 'api']
    """
    return frozenset(name.strip().lower() for name in listed.split(",") if name.strip())


def checked_host_names(listed: str) -> str:
    """Return a comma-separated list of host names as it is.

    Raises:
        ValueError: one of them is not a host name; the message names it.
    """
    for name in sorted(host_names(listed)):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a host name; give it without scheme, port, path or wildcard")
    return listed


class Refusal(NamedTuple):
    """Why a request is refused; `header` is the header at fault."""

    status: HTTPStatus
    header: str
    reason: str

    @property
    def status_line(self) -> str:
        """Code and phrase, as WSGI takes them."""
        return f"{self.status} {self.status.phrase}"


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return headers that were parsed as text in the form that `OriginGuard.refusal` takes, which is ASGI's."""
    return [(name.lower().encode("latin-1", "replace"), text.encode("latin-1", "replace")) for name, text in headers]


class OriginGuard:
    """Accepts requests for the server's own names: loopback, the configured names and its own address."""

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._names = LOOPBACK | {name.lower() for name in allowed_hosts}
        self._accepted: set[tuple[bytes, str]] = set()

    def refusal(
        self, headers: Iterable[tuple[bytes, bytes]], reached: str, *, may_be_linked: bool = False
    ) -> Refusal | None:
        """Return why the request is refused, or None.

        Args:
            headers: names in lower case.
            reached: the local address of the connection. It is always a valid `Host`: a request for an address, as
                probes and scrapers send, cannot be the result of DNS rebinding.
            may_be_linked: allow links from other sites, whose pages cannot read the answer.
        """
        given = [header for header in headers if header[0] in _WATCHED]
        if len(given) == 1 and (given[0][1], reached) in self._accepted:
            return None  # not from a browser, as nearly all requests
        values = {name: [v.decode("latin-1").lower() for n, v in given if n == name] for name in _WATCHED}
        return (
            self._wrong_host(values[b"host"], reached)
            or _foreign_origin(values[b"origin"], values[b"host"][0])
            or _foreign_page(values, may_be_linked)
        )

    def _wrong_host(self, values: list[str], reached: str) -> Refusal | None:
        if len(values) != 1:
            return Refusal(HTTPStatus.BAD_REQUEST, "Host", "is given twice" if values else "is missing")
        parts = _HOST.fullmatch(values[0])
        if parts is None:
            return Refusal(HTTPStatus.BAD_REQUEST, "Host", "is neither a name nor an address")
        name = parts[1] or parts[2]
        if name not in self._names and name != reached.removeprefix(_MAPPED):
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "Host", f"{name[:100]!r} is not a name of this server")
        if len(self._accepted) < _REMEMBERED:
            self._accepted.add((values[0].encode("latin-1"), reached))
        return None


def _foreign_origin(values: list[str], host: str) -> Refusal | None:
    if all(value in {f"http://{host}", f"https://{host}"} for value in values):
        return None
    return Refusal(HTTPStatus.FORBIDDEN, "Origin", "is foreign: other pages may not send requests here")


def _foreign_page(values: dict[bytes, list[str]], may_be_linked: bool) -> Refusal | None:
    if all(value in _OURS for value in values[b"sec-fetch-site"]):
        return None
    if may_be_linked and values[b"sec-fetch-mode"] == ["navigate"] and values[b"sec-fetch-dest"] == ["document"]:
        return None  # the user follows a link; no page embeds the answer
    return Refusal(HTTPStatus.FORBIDDEN, "Sec-Fetch-Site", "is foreign: other pages may not send requests here")

"""No page in a browser may talk to this server, whatever it knows: its request is told by its headers (pure).

A page on another origin sends `Origin` or `Sec-Fetch-Site`; one that had its own name point here (DNS rebinding) sends
that name as `Host`. Our clients send neither, and `Host` as they were given it.
"""

from collections.abc import Collection, Mapping

from infra.local.clickhouse.errors import Code, raised

OWN_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_FROM_ELSEWHERE = {"cross-site", "same-site"}


def check(headers: Mapping[str, str], names: Collection[str] = OWN_NAMES) -> None:
    """Raise ClickHouseError (497) unless the request is addressed to one of ``names`` and from no other origin."""
    host = headers.get("host", "")
    if host_name(host) not in names:
        raise raised(Code.ACCESS_DENIED, f"This server does not answer to the name {host!r}.")
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        raise raised(Code.ACCESS_DENIED, f"This server does not answer pages of {origin!r}.")
    if headers.get("sec-fetch-site") in _FROM_ELSEWHERE:
        raise raised(Code.ACCESS_DENIED, "This server does not answer pages of another origin.")


def host_name(host: str) -> str:
    """The name in a Host header, in lower case and without its port.

    >>> host_name("LocalHost:8123"), host_name("[::1]:8123"), host_name("[::1]"), host_name("127.0.0.1@evil:1")
    ('localhost', '[::1]', '[::1]', '127.0.0.1@evil')
    """
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()

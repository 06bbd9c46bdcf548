"""Runs inside Airflow's environment: verify, with one name for two replicas, as in Docker's DNS."""

import socket
import sys
from typing import Any

REPLICAS = ("127.0.0.1", "127.0.0.2")
_real = socket.getaddrinfo


def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
    """Stand in for the network's DNS: each replica has an address under the one name."""
    if host not in ("inference", b"inference"):
        return _real(host, *arguments, **options)
    return [answer for address in REPLICAS for answer in _real(address, *arguments, **options)]


def main(folder: str, version: str, seconds: str) -> None:
    sys.path.insert(0, folder)
    socket.getaddrinfo = resolve
    import _inference  # type: ignore[import-not-found] # noqa: PLC0415

    _inference.VERIFY_SECONDS = float(seconds)
    _inference.verify_replicas(version)


if __name__ == "__main__":
    main(*sys.argv[1:])

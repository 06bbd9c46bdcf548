"""Is a port free, and if not, who has it?"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from infra.local.programs import Program


@dataclass(frozen=True)
class TakenPort:
    """A port that a program of ours needs and another process holds."""

    program: str
    setting: str
    port: int
    holder: str

    def __str__(self) -> str:
        return (
            f"port {self.port}, which {self.program} needs, is taken by {self.holder}: "
            f"stop that, or set another {self.setting} in .env"
        )


def taken_ports(wanted: Iterable[Program]) -> list[TakenPort]:
    """Every port of `wanted` that cannot be bound on 127.0.0.1 now."""
    return [
        TakenPort(program.name, setting, port, holder_of(port))
        for program in wanted
        for setting, port in program.ports.items()
        if not is_free(port)
    ]


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:`port` can be bound; a connection of the past in TIME_WAIT does not count as taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """The process that listens on `port`, as a reader of a message wants it: `pid 123 (name)`."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
            if connection.pid is None:
                break
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.NoSuchProcess:
                break
    return "a process of another user"

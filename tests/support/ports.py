"""Ports for servers that a test stops and starts again."""

import random
from pathlib import Path

from infra.local.ports import is_free

_handed_out: set[int] = set()


def free_port() -> int:
    """A port on 127.0.0.1 that is free now and handed out once.

    Below the kernel's ephemeral range: from within it, an outgoing connection may take the port while the server
    that a test has just killed is down.
    """
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    lowest = 10_000 if first_ephemeral > 11_000 else 1_024
    chooser = random.SystemRandom()  # not the seeded generator: two runs at once must not choose alike
    for _ in range(200):
        port = chooser.randrange(lowest, first_ephemeral)
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free port found between {lowest} and {first_ephemeral}")

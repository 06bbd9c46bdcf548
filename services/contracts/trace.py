"""The trace context that follows one like from the page through the API and Kafka to the consumer (W3C Trace Context).

Its parts are made and passed on without any library of traces; who exports spans takes the ids from here.
"""

import random
import re
from dataclasses import dataclass

TRACEPARENT = "traceparent"
REQUEST_ID_HEADER = "x-request-id"
_SAMPLED = 0x01
_HEADER = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace; `sampled`: somebody wants to see it."""

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 of them."""
    sampled: bool

    @classmethod
    def new(cls, *, sampled: bool) -> "TraceContext":
        """Begin a trace."""
        ids = f"{random.getrandbits(192):048x}"  # as OpenTelemetry makes them: unique is enough
        return cls(ids[:32], ids[32:], sampled)

    @property
    def header(self) -> str:
        """The value of the header `TRACEPARENT`."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"


def parse(header: str) -> TraceContext | None:
    """Return what a `TRACEPARENT` says, or None when it is not well-formed.

    >>> parse("00-" + "a" * 32 + "-" + "b" * 16 + "-01").sampled
    True
    >>> parse("spoofed\\nline") is None
    True
    """
    found = _HEADER.fullmatch(header)
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return None
    return TraceContext(found[1], found[2], bool(int(found[3], 16) & _SAMPLED))

"""The trace context that rides along in Kafka's headers, so that one like can be followed through the system."""

import re
from collections.abc import Mapping

TRACEPARENT = "traceparent"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what of a request's headers goes into Kafka's: a well-formed W3C ``traceparent``, or nothing.

    >>> trace_headers({"traceparent": "spoofed\\nline"})
    {}
    """
    value = headers.get(TRACEPARENT, "")
    return {TRACEPARENT: value} if _TRACEPARENT.fullmatch(value) else {}

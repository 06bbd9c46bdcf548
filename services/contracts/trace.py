"""The headers that trace one like from the page through the API and Kafka to the consumer (W3C Trace Context)."""

import random

TRACEPARENT = "traceparent"
REQUEST_ID_HEADER = "x-request-id"


def begin_trace() -> tuple[str, str]:
    """Return the id of a new, sampled trace and the value of `TRACEPARENT` that says so.

    For clients, which make no spans of their own and need no library for this.
    """
    ids = f"{random.getrandbits(192):048x}"  # as OpenTelemetry makes them: unique is enough
    return ids[:32], f"00-{ids[:32]}-{ids[32:]}-01"

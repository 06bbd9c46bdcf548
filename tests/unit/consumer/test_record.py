"""A record is read whatever its headers hold: they are a foreign producer's, and only help to follow it."""

import pytest

from services.common import tracing
from services.consumer.record import LONGEST_HEADER, Headers, record_of
from services.contracts.trace import begin_trace

TRACE_ID, HEADER = begin_trace()
SAMPLED = ("traceparent", HEADER.encode())


class Sent:
    """A message of Kafka's client."""

    def __init__(self, headers: Headers | None = None, error: Exception | None = None) -> None:
        self._headers, self._error = headers, error

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 11

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"{}"

    def timestamp(self) -> tuple[int, int]:
        return (2, 1_000)

    def headers(self) -> Headers | None:
        if self._error is not None:
            raise self._error
        return self._headers


@pytest.mark.parametrize(
    "sent",
    [
        Sent(error=UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
        Sent(error=SystemError("returned a result with an exception set")),
        Sent([("traceparent", None)]),
        Sent([("traceparent", b"\xff\xfe")]),
        Sent([("traceparent", b"0" * 900_000 + b"1")]),
        Sent([("", b""), ("\0", None)]),
        Sent([]),
    ],
    ids=[
        "a name that is not UTF-8",
        "the same, as Kafka's client has it",
        "null",
        "a value that is not UTF-8",
        "huge",
        "no name",
        "none",
    ],
)
def test_headers_that_cannot_be_read_count_as_none(sent: Sent) -> None:
    record = record_of(sent)
    assert (record.offset, record.key, record.value, record.origin) == (11, b"", b"{}", None)


def test_a_header_is_repeated_only_up_to_a_length() -> None:
    record = record_of(Sent([SAMPLED, ("x-request-id", b"x" * 900_000)]))
    assert record.origin is not None
    assert (tracing.trace_id(record.origin.trace), record.origin.request_id) == (TRACE_ID, "x" * LONGEST_HEADER)
    again = record_of(Sent([SAMPLED, ("x-request-id", None)]))
    assert again.origin is not None
    assert again.origin.request_id == ""

"""A Kafka record as a plain value, so that everything after the poll is independent of Kafka's client."""

from dataclasses import dataclass
from operator import methodcaller
from typing import Protocol

from opentelemetry.trace import SpanContext

from services.common import tracing
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT

LATEST_RECORD_TIME_MS = 4_102_444_800_000
"""2100-01-01. Timestamps outside 1970–2100 are a producer's mistake and are read as 1970-01-01."""
LONGEST_HEADER = 128
"""Characters of a header's value that a log line may repeat."""

Headers = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]
"""As Kafka's client gives them."""

_headers_of = methodcaller("headers")
"""Calls ``message.headers()`` so that CPython always checks the result.

The specialised instructions of a warm call of a C method do not check. For a name that is not UTF-8 Kafka's client
(confluent-kafka 2.16) sets an exception and still returns a list, with NULLs; using it unchecked crashes the process.
"""


class KafkaMessage(Protocol):
    """What we read of a `confluent_kafka.Message`."""

    def topic(self) -> str | None: ...  # noqa: D102
    def partition(self) -> int | None: ...  # noqa: D102
    def offset(self) -> int | None: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102
    def headers(self) -> Headers | None: ...  # noqa: D102


@dataclass(slots=True)
class Record:
    """One record, never changed; ``time_ms`` is Kafka's record time (UTC), the same on every redelivery.

    Not frozen, as that would double the time to create one.
    """

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes
    value: bytes
    origin: "Origin | None" = None
    """Set for records of a sampled trace."""

    @property
    def place(self) -> tuple[str, int]:
        """Topic and partition."""
        return self.topic, self.partition


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record comes from, as its headers say."""

    trace: SpanContext
    request_id: str


def record_of(message: KafkaMessage) -> Record:
    """Return the message as a value; a missing key or value becomes empty bytes."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None, "a message without error has a topic,"
    assert partition is not None, "a partition"
    assert offset is not None, "and an offset"
    time_ms = message.timestamp()[1]
    return Record(
        topic=topic,
        partition=partition,
        offset=offset,
        time_ms=time_ms if 0 <= time_ms < LATEST_RECORD_TIME_MS else 0,
        key=message.key() or b"",
        value=message.value() or b"",
        origin=_origin(message),
    )


def _origin(message: KafkaMessage) -> Origin | None:
    """Return the trace of a record, if it is sampled; nearly all records have none.

    Headers come from any producer and only serve tracing: unreadable ones are ignored.
    """
    try:
        headers: Headers | None = _headers_of(message)
    except Exception:  # a name that is not UTF-8: UnicodeDecodeError, or SystemError around it
        return None
    if not headers:
        return None
    found = dict(headers)
    sent = found.get(TRACEPARENT)
    if not sent or sent[-2:] == b"00" or len(sent) > LONGEST_HEADER:
        return None
    trace = tracing.extract(_text(sent))
    request_id = _text(found.get(REQUEST_ID_HEADER))[:LONGEST_HEADER]
    return Origin(trace, request_id) if trace.trace_flags.sampled else None


def _text(value: str | bytes | None) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value or ""

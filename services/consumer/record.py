"""A Kafka record as a value, so that everything after the poll is free of Kafka's client."""

from dataclasses import dataclass
from typing import Protocol

LATEST_RECORD_TIME_MS = 4_102_444_800_000
"""2100-01-01. A timestamp outside 1970–2100 is a foreign producer's mistake and counts as 1970-01-01."""


class KafkaMessage(Protocol):
    """What we read of a `confluent_kafka.Message`."""

    def topic(self) -> str | None: ...  # noqa: D102
    def partition(self) -> int | None: ...  # noqa: D102
    def offset(self) -> int | None: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Record:
    """One record; ``time_ms`` is Kafka's record time (UTC), the same on every redelivery."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    key: bytes
    value: bytes


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
    )

"""Reading the topic `events` without a group: where a bundle's data end, decoding, and reading a part again."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from pydantic import ValidationError

from services.common.kafka import TopicIdentity, client_config
from services.contracts.events import Event, from_json
from services.contracts.signals import EPOCH
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)
BATCH = 1_000
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class StartingPoint:
    """Where a bundle's data end: per partition the first offset that is not in it, in one incarnation of the topic."""

    topic_id: str | None
    offsets: dict[int, int] = field(default_factory=dict)

    def in_topic(self, topic: TopicIdentity, earliest: dict[int, int]) -> dict[int, int]:
        """Return the offset to read from per partition of ``topic``, which may be another incarnation."""
        if self.topic_id != topic.topic_id:
            return dict(earliest)
        return {p: self.offsets.get(p, earliest[p]) for p in topic.partitions}

    def or_older(self, other: "StartingPoint") -> "StartingPoint":
        """Return a point that lies before both."""
        if self.topic_id != other.topic_id:
            return StartingPoint(None)
        shared = self.offsets.keys() & other.offsets.keys()
        return StartingPoint(self.topic_id, {p: min(self.offsets[p], other.offsets[p]) for p in shared})


class ReplayError(Exception):
    """An older part of the topic was needed and could not be read; what is served stays as it is."""


class TopicReader:
    """Makes consumers of the topic and turns their messages into events."""

    def __init__(self, bootstrap_servers: str, topic: str, metrics: Metrics) -> None:
        self._bootstrap = bootstrap_servers
        self._topic = topic
        self._metrics = metrics

    def consumer(self, positions: dict[int, int]) -> Consumer:
        """Return a consumer that reads from ``positions`` (partition -> offset) on; the caller closes it."""
        consumer = Consumer(
            client_config(self._bootstrap, "movierecs-live")
            | {
                "group.id": "movierecs-live",  # the client insists on a name; nothing is ever committed under it
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 8 * 1024,
                "log_level": 2,  # lost connections come out of `poll` as errors
            }
        )
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in positions.items()])
        return consumer

    def decode(self, message: Message) -> Event | None:
        """Return the event, or None (counted) for a record that is none; the consumer quarantines it."""
        try:
            at = EPOCH + timedelta(milliseconds=message.timestamp()[1])
            return from_json(Event, message.value() or b"", at)
        except ValidationError:
            self._metrics.live_skipped.inc()
            return None

    def replay(self, spans: dict[int, tuple[int, int]], apply: Callable[[Event], None], timeout_seconds: float) -> None:
        """Apply the records of ``spans`` (partition -> first offset, offset after the last one). Blocks.

        Raises:
            ReplayError: not done in time.
            KafkaException: the broker refuses.
        """
        log.info("reading an older part of the topic again", extra={"spans": spans})
        deadline = time.monotonic() + timeout_seconds
        left = dict(spans)
        consumer = self.consumer({partition: first for partition, (first, _) in spans.items()})
        try:
            while left:
                if time.monotonic() > deadline:
                    raise ReplayError(f"the topic {self._topic} could not be read again in time: {left}")
                for message in consumer.consume(BATCH, POLL_SECONDS):
                    error = message.error()
                    if error is not None:
                        raise KafkaException(error)
                    event = self.decode(message)
                    if event is not None:
                        apply(event)
                    partition, offset = place_of(message)
                    if partition in left and offset + 1 >= left[partition][1]:
                        del left[partition]
        finally:
            consumer.close()


def place_of(message: Message) -> tuple[int, int]:
    """Return the partition and offset of a message without an error."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None, "a message without an error has a partition"
    assert offset is not None, "a message without an error has an offset"
    return partition, offset

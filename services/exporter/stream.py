"""What Kafka says of the stream: how far the consumers are behind, and how long its records will still be there."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from services.common.kafka import TopicIdentity, client_config, describe_topic, retention_ms
from services.common.positions import positions
from services.contracts.metrics import INGEST_CONSUMER_LAG, INGEST_LAST_COMMITTED, INGEST_RETENTION_HEADROOM
from services.exporter.gauges import Labels, Samples

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5


def look(admin: AdminClient, brokers: str, group: str, topics: Sequence[str]) -> Samples:
    """Return lag, the time of what was committed last, and the time left until records that wait are deleted.

    Raises:
        KafkaException: the broker does not answer, or there is no such topic.
    """
    lag: dict[Labels, float] = {}
    last: dict[Labels, float] = {}
    headroom: dict[Labels, float] = {}
    for name in topics:
        topic = describe_topic(admin, name, timeout_seconds=TIMEOUT_SECONDS)
        places = positions(admin, group, topic, timeout_seconds=TIMEOUT_SECONDS)
        lag |= {(name, str(p)): float(at.lag) for p, at in places.items()}
        # The record before the committed offset was stored last; the one at it is the oldest that waits.
        stored = {p: at.stored_to - 1 for p, at in places.items() if at.begin < at.stored_to <= at.end}
        waiting = {p: max(at.stored_to, at.begin) for p, at in places.items() if at.lag and at.begin < at.end}
        if times := _record_times(brokers, topic, stored):
            last[(name,)] = max(times.values()) / 1000
        if (keep_ms := retention_ms(admin, name, timeout_seconds=TIMEOUT_SECONDS)) is not None:
            oldest = min(_record_times(brokers, topic, waiting).values(), default=None)
            waits_ms = 0 if oldest is None else max(0, time.time() * 1000 - oldest)
            overtaken = any(at.is_overtaken for at in places.values())
            headroom[(name,)] = 0.0 if overtaken else (keep_ms - waits_ms) / 1000
    return {INGEST_CONSUMER_LAG: lag, INGEST_LAST_COMMITTED: last, INGEST_RETENTION_HEADROOM: headroom}


def _record_times(brokers: str, topic: TopicIdentity, offsets: dict[int, int]) -> dict[int, int]:
    """Return the broker's time (ms) of the record at each partition's offset; one that was just deleted is left out.

    Raises:
        KafkaException: the broker does not answer in time.
    """
    found: dict[int, int] = {}
    if not offsets:
        return found
    places = [TopicPartition(topic.name, p, offset) for p, offset in offsets.items()]
    with _reader(brokers) as reader:
        reader.assign(places)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        missing = set(offsets)
        while missing:
            message = reader.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic.name}: records could not be read"))
            error, partition = message.error(), message.partition()
            if error is not None and error.code() != KafkaError._AUTO_OFFSET_RESET:
                raise KafkaException(error)
            if partition not in missing:
                continue
            missing.discard(partition)
            if error is None:
                found[partition] = message.timestamp()[1]
    return found


@contextmanager
def _reader(brokers: str) -> Iterator[Consumer]:
    """A consumer that joins no group and fetches little: one record is all that is wanted."""
    config = client_config(brokers, "movierecs-exporter") | {
        "group.id": "movierecs-exporter",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "fetch.message.max.bytes": 65_536,
        "queued.min.messages": 1,
    }
    reader = Consumer(config, logger=log)
    try:
        yield reader
    finally:
        reader.close()

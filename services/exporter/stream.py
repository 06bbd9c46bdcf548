"""Metrics from Kafka: the consumer's lag, and how long its records will still be retained."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from services.common.kafka import TopicIdentity, client_config, describe_topic, retention_ms
from services.common.positions import Position, positions
from services.contracts.metrics import INGEST_CONSUMER_LAG, INGEST_LAST_COMMITTED, INGEST_RETENTION_HEADROOM
from services.exporter.dependency import NotFoundError
from services.exporter.gauges import Labels, Samples

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5
LOOK_BACK = (1, 100, 10_000)
"""How many offsets before the committed one are searched for the last record."""


def collect(admin: AdminClient, brokers: str, group: str, name: str) -> Samples:
    """Return lag, time of the last committed record, and time left until unconsumed records are deleted.

    A partition for which no broker answers is left out; the others are shown.

    Raises:
        NotFoundError: there is no such topic.
        KafkaException: no broker answers.
    """
    topic = _identify(admin, name)
    places = positions(admin, group, topic, timeout_seconds=TIMEOUT_SECONDS)
    lag: dict[Labels, float] = {(name, str(p)): float(at.lag) for p, at in places.items()}
    last: dict[Labels, float] = {}
    headroom: dict[Labels, float] = {}
    if times := _stored_last(brokers, topic, places):
        last[(name,)] = max(times.values()) / 1000
    if (keep_ms := retention_ms(admin, name, timeout_seconds=TIMEOUT_SECONDS)) is not None:
        waiting = {p: range(max(at.stored_to, at.begin), at.end) for p, at in places.items()}
        oldest = min(_record_times(brokers, topic, waiting).values(), default=None)
        waits_ms = 0 if oldest is None else max(0, time.time() * 1000 - oldest)
        overtaken = any(at.is_overtaken for at in places.values())
        headroom[(name,)] = 0.0 if overtaken else (keep_ms - waits_ms) / 1000
    return {INGEST_CONSUMER_LAG: lag, INGEST_LAST_COMMITTED: last, INGEST_RETENTION_HEADROOM: headroom}


def _identify(admin: AdminClient, name: str) -> TopicIdentity:
    try:
        return describe_topic(admin, name, timeout_seconds=TIMEOUT_SECONDS)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise NotFoundError(f"there is no topic {name}") from error
        raise


def _stored_last(brokers: str, topic: TopicIdentity, places: Mapping[int, Position]) -> dict[int, int]:
    """Return per partition the time of the last record before the committed offset, where there is one.

    It is the one just before, but for transactions, which leave offsets without a record.
    """
    found: dict[int, int] = {}
    for back in LOOK_BACK:
        spans = {
            p: range(max(at.begin, at.stored_to - back), at.stored_to)
            for p, at in places.items()
            if p not in found and at.stored_to <= at.end
        }
        found |= _record_times(brokers, topic, spans, last=True)
    return found


def _record_times(
    brokers: str, topic: TopicIdentity, spans: Mapping[int, range], *, last: bool = False
) -> dict[int, int]:
    """Return the broker's time (ms) of the first (or last) record in each partition's span that has one.

    Raises:
        KafkaException: nothing could be read in time.
    """
    found: dict[int, int] = {}
    left = {p: span for p, span in spans.items() if span}
    if not left:
        return found
    with _reader(brokers) as reader:
        reader.assign([TopicPartition(topic.name, p, span.start) for p, span in left.items()])
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while left and (message := reader.poll(max(0.0, deadline - time.monotonic()))) is not None:
            partition, offset = message.partition(), message.offset()
            if partition is None or partition not in left:
                continue
            if message.error() is not None:  # its end, or just deleted, or unreadable
                del left[partition]
                continue
            assert offset is not None, "a message without error has one"
            if offset in left[partition]:
                found[partition] = message.timestamp()[1]
            if not last or offset + 1 >= left[partition].stop:
                del left[partition]
    if left and not found:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic.name}: records could not be read"))
    if left:
        log.warning("%s: no record could be read in time of partitions %s", topic.name, sorted(left))
    return found


@contextmanager
def _reader(brokers: str) -> Iterator[Consumer]:
    """A consumer that joins no group and fetches little, as only a few records are read."""
    config = client_config(brokers, "movierecs-exporter") | {
        "group.id": "movierecs-exporter",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.message.max.bytes": 65_536,
        "queued.min.messages": 1,
        "fetch.queue.backoff.ms": 10,  # otherwise partitions wait a second for each other once one record is there
        "fetch.wait.max.ms": 50,
    }
    reader = Consumer(config, logger=log)
    try:
        yield reader
    finally:
        reader.close()

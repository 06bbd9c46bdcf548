"""Reads the topic `events` without a consumer group: consumers, decoding, and reading a span again."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from pydantic import ValidationError

from services.common.kafka import TopicIdentity, client_config
from services.contracts.events import Event, from_json
from services.contracts.signals import EPOCH
from services.inference.history.live import Change
from services.inference.history.quick_decode import quick_change
from services.inference.history.spans import Spans
from services.inference.history.stamps import slot_and_version
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)
BATCH = 1_000
POLL_SECONDS = 0.2
_SILENCE_SECONDS = 5.0


@dataclass(frozen=True)
class StartingPoint:
    """Where a bundle's data ends: per partition the first offset that is not in it, in one incarnation of the topic."""

    topic_id: str | None
    offsets: dict[int, int] = field(default_factory=dict)

    def in_topic(self, topic: TopicIdentity) -> dict[int, int]:
        """Return the offset to read from per partition of ``topic``: all of it when it is another incarnation."""
        offsets = self.offsets if self.topic_id == topic.topic_id else {}
        return {p: offsets.get(p, 0) for p in topic.partitions}

    def or_older(self, other: "StartingPoint") -> "StartingPoint":
        """Return a point that lies before both."""
        if self.topic_id != other.topic_id:
            return StartingPoint(None)
        shared = self.offsets.keys() & other.offsets.keys()
        return StartingPoint(self.topic_id, {p: min(self.offsets[p], other.offsets[p]) for p in shared})


class ReplayError(Exception):
    """An older part of the topic is needed and not read yet; the served model stays as it is."""


class Read(NamedTuple):
    """The result of one poll."""

    changes: list[Change]
    positions: dict[int, int]
    """Per partition the next offset to read. Offsets without a record, such as transaction markers, are skipped."""
    ended: set[int]
    """Partitions that have no more records now."""
    error: KafkaError | None
    """The last error that the client does not recover from by itself."""
    disconnected: str | None
    """Why the client is not connected; it keeps trying."""
    record_times: list[int]
    """Kafka's timestamps of the decoded records, ms."""


class TopicReader:
    """Creates consumers of the topic and decodes their messages into changes for the live history."""

    def __init__(self, bootstrap_servers: str, topic: str, metrics: Metrics) -> None:
        self._bootstrap = bootstrap_servers
        self._topic = topic
        self._metrics = metrics

    def consumer(self, positions: dict[int, int]) -> Consumer:
        """Return a consumer that reads from ``positions`` (partition -> offset) on; the caller closes it."""
        consumer = Consumer(
            client_config(self._bootstrap, "movierecs-live")
            | {
                "group.id": "movierecs-live",  # required by the client; nothing is ever committed under this name
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                # The only signal that trailing offsets have no record: transaction markers, aborted transactions.
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 8 * 1024,
                # By default the client pauses for a second whenever the queue is full: 56,000 records/s at most.
                "fetch.queue.backoff.ms": 5,
                "log_level": 2,  # lost connections are reported by `poll` as errors
            }
        )
        consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in positions.items()])
        return consumer

    def admin(self) -> AdminClient:
        """Return a client for one look at the topic; see `services.common.kafka.admin`."""
        return AdminClient(client_config(self._bootstrap, "movierecs-live-admin") | {"log_level": 2})

    def take(self, consumer: Consumer) -> Read:
        """Return what has arrived, at most `BATCH` + 1 messages; waits `POLL_SECONDS` for the first."""
        first = consumer.poll(POLL_SECONDS)
        return self.read([] if first is None else [first, *consumer.consume(BATCH, 0)])

    def read(self, messages: Iterable[Message]) -> Read:
        """Decode messages; each one becomes a change or is counted as skipped."""
        changes: list[Change] = []
        times: list[int] = []
        positions: dict[int, int] = {}
        ended: set[int] = set()
        failed = disconnected = None
        for message in messages:
            error = message.error()
            if error is None:
                at = message.timestamp()[1]
                change = self._decode(message, at)
                if change is not None:
                    changes.append(change)
                    times.append(at)
                positions[_int(message.partition())] = _int(message.offset()) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                positions[_int(message.partition())] = _int(message.offset())
                ended.add(_int(message.partition()))
            elif error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                disconnected = error.str()
            else:
                failed = error
        return Read(changes, positions, ended, failed, disconnected, times)

    def read_again(
        self, spans: Spans, fold: Callable[[list[Change], dict[int, tuple[int, int]]], None], stop: threading.Event
    ) -> None:
        """Read one span of each partition. Blocks until all are read or the partitions end earlier.

        ``fold`` gets the changes as they arrive, and per partition the range of offsets that they cover.

        Raises:
            KafkaException: the broker refuses, or has deleted the records.
            TimeoutError: it does not answer.
        """
        left = {partition: (first, end) for partition, first, end in reversed(list(spans))}
        if not left:
            return
        consumer = self.consumer({partition: first for partition, (first, _) in left.items()})
        heard = time.monotonic()
        try:
            while left and not stop.is_set():
                read = self.take(consumer)
                progress = {p: (left[p][0], min(at, left[p][1])) for p, at in read.positions.items() if p in left}
                fold(read.changes, progress)
                for partition, (first, at) in progress.items():
                    end = left.pop(partition)[1]
                    if at < end and partition not in read.ended:
                        left[partition] = (max(first, at), end)
                    else:
                        consumer.incremental_unassign([TopicPartition(self._topic, partition)])
                if read.error is not None:
                    raise KafkaException(read.error)
                heard = time.monotonic() if read.positions else heard
                if time.monotonic() - heard > _SILENCE_SECONDS:
                    raise TimeoutError
        finally:
            consumer.close()

    def _decode(self, message: Message, time_ms: int) -> Change | None:
        """Return the record's change, or None (counted) if it is not a valid event; the consumer quarantines it."""
        value = message.value() or b""
        change = quick_change(value, time_ms)
        if change is not None:
            return change
        try:
            event = from_json(Event, value, EPOCH + timedelta(milliseconds=time_ms))
            return event.user_id, *slot_and_version(event)
        except ValidationError:
            self._metrics.live_skipped.inc()
        except Exception as error:  # whatever is wrong with one record, read the others
            log.warning("a record could not be decoded: %s", type(error).__name__)
            self._metrics.live_skipped.inc()
        return None


def readable(client: AdminClient, topic: TopicIdentity, *, timeout_seconds: float) -> dict[int, tuple[int, int]]:
    """Return per partition the first offset that the broker has, and the last stable offset.

    Records of open transactions come after it. A partition that does not answer is left out.

    Raises:
        KafkaException: no partition answers.
        TimeoutError: no partition answers in time.
    """
    places = [TopicPartition(topic.name, p) for p in topic.partitions]
    first, last = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
    answers = [
        client.list_offsets(
            dict.fromkeys(places, spec), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_seconds
        )
        for spec in (first, last)
    ]
    found: dict[int, tuple[int, int]] = {}
    failed: KafkaException | TimeoutError | None = None
    for place in places:
        try:
            begin, end = (answer[place].result(timeout_seconds).offset for answer in answers)
        except (KafkaException, TimeoutError) as error:
            failed = error
        else:
            found[place.partition] = (begin, end)
    if failed is not None and not found:
        raise failed
    return found


def _int(value: int | None) -> int:
    assert value is not None, "a record or an end of partition has a partition and an offset"
    return value

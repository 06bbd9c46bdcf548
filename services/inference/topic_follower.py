"""Follows the topic `events` from where the served model's data end, and folds every record into the live history.

Its own consumer without a group: every replica reads every partition and commits nothing. Where it
reads from is decided by `StartingPoint`: the offsets of a bundle's extract, for one incarnation of the topic.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from services.common.kafka import TopicIdentity, begin_offsets, client_config, describe_topic, end_offsets
from services.contracts.events import Event
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_BATCH = 1_000
_RETRY_SECONDS = 1.0
_ADMIN_SECONDS = 5.0


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


class ReplayError(Exception):
    """An older part of the topic was needed and could not be read; what is served stays as it is."""


class TopicFollower:
    """Reads the topic on a thread of its own, from `cover`'s first call on."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        apply: Callable[[Event], None],
        metrics: Metrics,
        *,
        recheck_seconds: float = 10.0,
    ) -> None:
        self._bootstrap = bootstrap_servers
        self._topic = topic
        self._apply = apply
        self._metrics = metrics
        self._recheck_seconds = recheck_seconds
        self._admin: AdminClient | None = None
        self._thread = threading.Thread(target=self._run, name="topic-follower", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._start: StartingPoint | None = None
        self._identity: TopicIdentity | None = None
        self._covered: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._caught_up = threading.Event()
        self.trouble: str | None = None
        """Why the topic cannot be followed at the moment; None: it is followed."""
        self.gap: str | None = None
        """What the broker had deleted before it was read; None: nothing."""

    @property
    def caught_up(self) -> bool:
        """Whether the topic's head, as it was when following began, has been reached."""
        return self._caught_up.is_set()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def cover(self, start: StartingPoint) -> None:
        """See to it that everything from ``start`` on is, or will be, in the live history.

        The first call starts the following and returns at once. Later calls read again what lies
        before the part that is covered already (a rollback to an older model) and return when it is
        folded in.

        Raises:
            ReplayError: the broker does not answer.
        """
        with self._lock:
            if self._start is None:
                self._start = start
                self._thread.start()
                return
            identity, covered, positions = self._identity, dict(self._covered), dict(self._positions)
        if identity is None:
            # Not connected yet: it will begin at the older of the two.
            with self._lock:
                self._start = _older(self._start, start)
            return
        try:
            earliest = begin_offsets(self._client(), identity, timeout_seconds=_ADMIN_SECONDS)
            wanted = start.in_topic(identity, earliest)
            missing = {
                p: (max(first, earliest[p]), covered.get(p, positions.get(p, earliest[p])))
                for p, first in wanted.items()
            }
            self._replay({p: span for p, span in missing.items() if span[0] < span[1]})
        except KafkaException as error:
            raise ReplayError(f"the topic {self._topic} could not be read again: {error.args[0].str()}") from error
        with self._lock:
            self._covered = {p: min(covered.get(p, first), first) for p, first in wanted.items()}

    def uncover(self, start: StartingPoint) -> None:
        """Note that what lies before ``start`` is no longer in the live history: the model holds it."""
        with self._lock:
            if self._identity is not None and start.topic_id == self._identity.topic_id:
                for partition, first in start.offsets.items():
                    self._covered[partition] = max(first, self._covered.get(partition, first))

    def _client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(client_config(self._bootstrap, "movierecs-live-admin") | {"log_level": 2})
        return self._admin

    def _consumer(self) -> Consumer:
        return Consumer(
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

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except KafkaException as error:
                self._report(error.args[0].str())
            except Exception as error:  # a thread that died would be silent for ever
                log.exception("following the topic failed")
                self._report(str(error) or type(error).__name__)
            self._stopping.wait(_RETRY_SECONDS)

    def _report(self, trouble: str) -> None:
        if self.trouble != trouble:
            log.warning("the topic cannot be followed: %s", trouble)
        self.trouble = trouble

    def _follow(self) -> None:
        """Follow one incarnation of the topic until it changes, an error is met or the service stops."""
        client = self._client()
        identity = describe_topic(client, self._topic, timeout_seconds=_ADMIN_SECONDS)
        earliest = begin_offsets(client, identity, timeout_seconds=_ADMIN_SECONDS)
        head = end_offsets(client, identity, timeout_seconds=_ADMIN_SECONDS)
        positions = self._begin(identity, earliest, head)
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in positions.items()])
            self._note_progress(head)
            recheck = time.monotonic() + self._recheck_seconds
            while not self._stopping.is_set():
                if time.monotonic() > recheck:
                    if describe_topic(client, self._topic, timeout_seconds=_ADMIN_SECONDS) != identity:
                        log.warning("the topic was made again or has more partitions")
                        return
                    recheck = time.monotonic() + self._recheck_seconds
                first = consumer.poll(_POLL_SECONDS)
                if first is None:
                    continue
                self._take([first, *consumer.consume(_BATCH, 0)])
                self._note_progress(head)
        finally:
            consumer.close()

    def _begin(self, identity: TopicIdentity, earliest: dict[int, int], head: dict[int, int]) -> dict[int, int]:
        """Return where to read on: after what was read, else at the starting point; never outside of what there is."""
        with self._lock:
            assert self._start is not None
            if self._identity is not None and self._identity.topic_id == identity.topic_id:
                wanted = {p: self._positions.get(p, earliest[p]) for p in identity.partitions}
            else:
                again = self._identity is not None
                wanted = dict(earliest) if again else self._start.in_topic(identity, earliest)
                self._covered = dict(wanted)
            self._identity = identity
            positions = {}
            for partition, offset in wanted.items():
                inside = earliest[partition] <= offset <= head[partition]
                positions[partition] = offset if inside else earliest[partition]
                if not inside:
                    self.gap = (
                        f"partition {partition}: offset {offset} is not there, reading from {earliest[partition]}"
                    )
                    log.error("part of the viewers' history is missing: %s", self.gap)
            self._positions = positions
            return dict(positions)

    def _take(self, messages: Iterable[Message]) -> None:
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
                    self._report(error.str())  # the client reconnects by itself
                    continue
                raise KafkaException(error)
            event = self._decode(message)
            if event is not None:
                self._apply(event)
                if self.caught_up:
                    self._metrics.live_lag_seconds.observe(max(0.0, time.time() - message.timestamp()[1] / 1000))
            with self._lock:
                self._positions[_partition(message)] = _offset(message) + 1
            self.trouble = None

    def _decode(self, message: Message) -> Event | None:
        try:
            return Event.model_validate_json(message.value() or b"")
        except ValidationError:
            # The consumer quarantines it, with the reason; here it only must not stop the others.
            self._metrics.live_skipped.inc()
            return None

    def _note_progress(self, head: dict[int, int]) -> None:
        if not self.caught_up and all(self._positions.get(p, 0) >= offset for p, offset in head.items()):
            self._caught_up.set()
            self.trouble = None
            log.info("the topic is followed to its head")

    def _replay(self, spans: dict[int, tuple[int, int]]) -> None:
        """Fold in the records of ``spans`` (partition -> first offset, offset after the last one)."""
        if not spans:
            return
        log.info("reading an older part of the topic again", extra={"spans": spans})
        consumer = self._consumer()
        deadline = time.monotonic() + 30
        left = dict(spans)
        try:
            consumer.assign([TopicPartition(self._topic, p, first) for p, (first, _) in spans.items()])
            while left:
                if time.monotonic() > deadline:
                    raise ReplayError(f"the topic {self._topic} could not be read again in time: {left}")
                for message in consumer.consume(_BATCH, _POLL_SECONDS):
                    error = message.error()
                    if error is not None:
                        raise KafkaException(error)
                    event = self._decode(message)
                    if event is not None:
                        self._apply(event)
                    partition = _partition(message)
                    if partition in left and _offset(message) + 1 >= left[partition][1]:
                        del left[partition]
        finally:
            consumer.close()


def _older(a: StartingPoint | None, b: StartingPoint) -> StartingPoint:
    if a is None or a.topic_id != b.topic_id:
        return StartingPoint(None)
    shared = a.offsets.keys() & b.offsets.keys()
    return StartingPoint(a.topic_id, {p: min(a.offsets[p], b.offsets[p]) for p in shared})


def _partition(message: Message) -> int:
    partition = message.partition()
    assert partition is not None, "a message without an error has a partition"
    return partition


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None, "a message without an error has an offset"
    return offset

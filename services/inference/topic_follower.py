"""Follows the topic `events` from where the served model's data end, and folds every record into the live history.

Its own consumer without a group: every replica reads every partition and commits nothing. Where it
reads from is decided by `StartingPoint`: the offsets of a bundle's extract, for one incarnation of the topic.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from services.common.kafka import TopicIdentity, begin_offsets, client_config, describe_topic, end_offsets
from services.contracts.events import Event
from services.inference.metrics import Metrics
from services.inference.topic_reader import BATCH, POLL_SECONDS, ReplayError, StartingPoint, TopicReader, place_of

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_ADMIN_SECONDS = 5.0
_REPLAY_SECONDS = 30.0


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
        self._reader = TopicReader(bootstrap_servers, topic, metrics)
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
            first_call = self._start is None
            self._start = start if self._start is None else self._start.or_older(start)
            identity, covered = self._identity, dict(self._covered)
        if first_call:
            self._thread.start()
        if identity is None:
            return  # not connected yet: it will begin at the oldest point asked for
        if start.topic_id == identity.topic_id and all(
            p in start.offsets and start.offsets[p] >= first for p, first in covered.items()
        ):
            return  # the usual case, a newer model: nothing to read, and Kafka may be away
        try:
            earliest = begin_offsets(self._client(), identity, timeout_seconds=_ADMIN_SECONDS)
            wanted = {p: max(first, earliest[p]) for p, first in start.in_topic(identity, earliest).items()}
            spans = {p: (first, covered[p]) for p, first in wanted.items() if first < covered.get(p, first)}
            if spans:
                self._reader.replay(spans, self._apply, _REPLAY_SECONDS)
        except (KafkaException, TimeoutError) as error:
            raise ReplayError(f"the topic {self._topic} could not be read again: {_reason(error)}") from error
        with self._lock:
            self._covered = {p: min(first, self._covered.get(p, first)) for p, first in wanted.items()}

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

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (KafkaException, TimeoutError) as error:
                self._report(_reason(error))
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
        consumer = self._reader.consumer(positions)
        try:
            self._note_progress(head)
            recheck = time.monotonic() + self._recheck_seconds
            while not self._stopping.is_set():
                if time.monotonic() > recheck:
                    if describe_topic(client, self._topic, timeout_seconds=_ADMIN_SECONDS) != identity:
                        log.warning("the topic was made again or has more partitions")
                        return
                    self.trouble = None
                    recheck = time.monotonic() + self._recheck_seconds
                first = consumer.poll(POLL_SECONDS)
                if first is None:
                    continue
                self._take([first, *consumer.consume(BATCH, 0)])
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
            event = self._reader.decode(message)
            if event is not None:
                self._apply(event)
                if self.caught_up:
                    self._metrics.live_lag_seconds.observe(max(0.0, time.time() - message.timestamp()[1] / 1000))
            with self._lock:
                partition, offset = place_of(message)
                self._positions[partition] = offset + 1
            self.trouble = None

    def _note_progress(self, head: dict[int, int]) -> None:
        if not self.caught_up and all(self._positions.get(p, 0) >= offset for p, offset in head.items()):
            self._caught_up.set()
            self.trouble = None
            log.info("the topic is followed to its head")


def _reason(error: KafkaException | TimeoutError) -> str:
    return error.args[0].str() if isinstance(error, KafkaException) else "Kafka does not answer"

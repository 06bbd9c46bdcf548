"""Follows the topic `events` from its head, and has everything before it backfilled into the live history.

Uses a consumer without a group: every replica reads every partition and commits nothing. `Backfill` loads what lies
between the end of a model's extract (`StartingPoint`) and the offset where following began.
"""

import logging
import threading
import time

from confluent_kafka import KafkaError, KafkaException

from services.common.kafka import TopicIdentity, describe_topic, end_offsets
from services.inference.history.backfill import Backfill, reason
from services.inference.history.live import LiveHistory
from services.inference.history.spans import Spans
from services.inference.history.topic_reader import ReplayError, StartingPoint, TopicReader, readable
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_ADMIN_SECONDS = 5.0
_REPLAY_SECONDS = 10.0


class TopicFollower:
    """Reads the topic on its own thread, starting with the first call of `cover`."""

    def __init__(
        self,
        topic: str,
        *,
        live: LiveHistory,
        reader: TopicReader,
        backfill: Backfill,
        metrics: Metrics,
        recheck_seconds: float = 10.0,
    ) -> None:
        self._reader = reader
        self._backfill = backfill
        self._topic = topic
        self._live = live
        self._metrics = metrics
        self._recheck_seconds = recheck_seconds
        self._thread = threading.Thread(target=self._run, name="topic-follower", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._start: StartingPoint | None = None
        """The oldest point requested."""
        self._served: StartingPoint | None = None
        """That of the served model."""
        self._elsewhere: StartingPoint | None = None
        """A point in another incarnation of the topic, already passed to the backfill."""
        self._identity: TopicIdentity | None = None
        self._covered: dict[int, int] = {}
        """Per partition the offset from which everything is in the live history or requested from the backfill."""
        self._positions: dict[int, int] = {}
        self._caught_up = False
        self.error: str | None = None
        """Why the topic cannot be followed now; None if it is."""

    @property
    def caught_up(self) -> bool:
        """Whether everything in the topic when following began has been read, or is known to be a gap."""
        with self._lock:
            identity = self._identity
            is_following = identity is not None and self._positions.keys() == set(identity.partitions)
        if not self._caught_up and is_following and self._backfill.wait(0) is None:
            self._caught_up = True
            log.info("the topic is followed to its head")
        return self._caught_up

    @property
    def gap(self) -> str | None:
        """The part of the history that neither Kafka nor ClickHouse has; None if there is none."""
        return self._backfill.gap

    def stop(self) -> None:
        """Stop the threads."""
        self._stopping.set()
        self._backfill.stop()
        if self._thread.is_alive():
            self._thread.join(5)

    def cover(self, start: StartingPoint) -> None:
        """Ensure that everything from ``start`` on is, or will be, in the live history.

        The first call starts following and returns at once. Later calls with an older ``start`` (a rollback) return
        when the additional part is loaded, as far as Kafka or ClickHouse has it.

        Raises:
            ReplayError: it takes longer than 10 s, or neither answers. Reading goes on: call again.
        """
        with self._lock:
            first_call = self._start is None
            self._start = start if self._start is None else self._start.or_older(start)
            identity = self._identity
            if identity is not None:
                self._require(identity, start)
        if first_call:
            self._backfill.start()
            self._thread.start()
        if identity is None:
            return  # not connected yet: it will begin at the oldest point asked for
        left = self._backfill.wait(_REPLAY_SECONDS)
        if left is not None and not self._is_newer(start):
            raise ReplayError(f"the topic {self._topic} is being read again for an older model: {left}")

    def uncover(self, start: StartingPoint) -> None:
        """Note that what lies before ``start`` was pruned from the live history: the model contains it."""
        with self._lock:
            self._start = self._served = start
            if self._identity is None or start.topic_id != self._identity.topic_id:
                return
            for partition, first in start.offsets.items():
                self._covered[partition] = max(first, self._covered.get(partition, first))
        self._backfill.forget_before(start.offsets)

    def _is_newer(self, start: StartingPoint) -> bool:
        """Whether ``start`` is at or after that of the served model, so that nothing has to be read for it."""
        with self._lock:
            if self._served is None or self._identity is None:
                return False
            if start.topic_id not in (None, self._identity.topic_id, self._served.topic_id):
                return False
            first, served = start.in_topic(self._identity), self._served.in_topic(self._identity)
            return start == self._served or all(first[p] >= served[p] for p in first)

    def _require(self, identity: TopicIdentity, start: StartingPoint) -> None:
        """Request from the backfill what lies between ``start`` and what is covered. The lock is held."""
        missing = Spans()
        for partition, first in start.in_topic(identity).items():
            if partition in self._covered and first < self._covered[partition]:
                missing.add(partition, first, self._covered[partition])
                self._covered[partition] = first
        is_elsewhere = start.topic_id not in (None, identity.topic_id) and start != self._elsewhere
        if is_elsewhere:
            self._elsewhere = start
        if len(missing) or is_elsewhere:
            self._backfill.require(identity, missing, start if is_elsewhere else None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (KafkaException, TimeoutError) as error:
                self._report(reason(error))
            except Exception as error:  # keep the thread alive whatever happens: its death would go unnoticed
                log.exception("following the topic failed")
                self._report(str(error) or type(error).__name__)
            self._stopping.wait(_RETRY_SECONDS)

    def _report(self, error: str | None) -> None:
        if error is not None and self.error != error:
            log.warning("the topic cannot be followed: %s", error)
        self.error = error

    def _follow(self) -> None:
        """Follow one incarnation of the topic until it changes, retention overtakes us or the service stops."""
        client = self._reader.admin()
        identity = describe_topic(client, self._topic, timeout_seconds=_ADMIN_SECONDS)
        there = readable(client, identity, timeout_seconds=_ADMIN_SECONDS)
        if there.keys() == set(identity.partitions):  # otherwise a partition is unavailable, and its end unknown
            self._reread_truncated(identity, end_offsets(client, identity, timeout_seconds=_ADMIN_SECONDS))
        positions = self._begin(identity, there)
        consumer = self._reader.consumer(positions)
        try:
            self._report(None)
            recheck = time.monotonic() + self._recheck_seconds
            while not self._stopping.is_set():
                if time.monotonic() > recheck:
                    if describe_topic(client, self._topic, timeout_seconds=_ADMIN_SECONDS) != identity:
                        log.warning("the topic was recreated or has more partitions")
                        return
                    if positions.keys() != set(identity.partitions):
                        return  # a partition did not answer
                    recheck = time.monotonic() + self._recheck_seconds
                read = self._reader.take(consumer)
                self._live.fold(read.changes)
                now = time.time()
                for time_ms in read.record_times:
                    self._metrics.live_lag_seconds.observe(max(0.0, now - time_ms / 1000))
                with self._lock:
                    self._positions.update(read.positions)
                if read.error is not None:
                    self._report(read.error.str())
                    if read.error.code() == KafkaError._AUTO_OFFSET_RESET:
                        return  # retention has deleted the next records
                elif read.disconnected is not None:
                    self._report(read.disconnected)  # the client reconnects by itself
                elif read.positions:
                    self._report(None)
        finally:
            consumer.close()

    def _reread_truncated(self, identity: TopicIdentity, ends: dict[int, int]) -> None:
        """Where a model's extract ends after the log's end, the log was truncated: then read all of it."""
        with self._lock:
            start = self._start
            if start is None or start.topic_id != identity.topic_id:
                return
            beyond = {p for p, first in start.offsets.items() if first > ends.get(p, first)}
            if beyond:
                log.error("the topic is shorter than the model's data", extra={"partitions": sorted(beyond)})
                offsets = {p: 0 if p in beyond else first for p, first in start.offsets.items()}
                self._start = StartingPoint(identity.topic_id, offsets)

    def _begin(self, identity: TopicIdentity, there: dict[int, tuple[int, int]]) -> dict[int, int]:
        """Return where to continue: after what was read, else at the head; the backfill loads what lies before."""
        with self._lock:
            assert self._start is not None, "following begins with the first model"
            is_same = self._identity is not None and self._identity.topic_id == identity.topic_id
            start = self._start if self._identity is None or is_same else StartingPoint(None)
            if not is_same:
                self._positions, self._covered = {}, {}
            missing = Spans()
            for partition, (begin, end) in there.items():
                at = self._positions.get(partition)
                if at is None:
                    self._covered[partition] = end
                elif at < begin:
                    missing.add(partition, at, end)
                if at is None or not begin <= at <= end:
                    self._positions[partition] = end
            self._identity = identity
            if len(missing):
                log.warning("retention deleted records that were not followed yet", extra={"missing": list(missing)})
                self._backfill.require(identity, missing)
            self._require(identity, start)
            return {p: self._positions[p] for p in identity.partitions if p in self._positions}

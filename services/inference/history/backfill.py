"""Loads events between a model's extract and now into the live history, from ClickHouse or Kafka.

ClickHouse is cheaper to read; Kafka has what ClickHouse does not have yet. Progress is kept: after a failure reading
continues where it stopped. Offsets that neither has are a gap, which is counted, shown, and retried until ClickHouse
has them.
"""

import logging
import threading
import time

from confluent_kafka import KafkaException
from pydantic import SecretStr

from services.common.kafka import TopicIdentity, epoch_of
from services.inference.history.live import Change, LiveHistory
from services.inference.history.spans import Spans
from services.inference.history.stored_events import StoredEvents
from services.inference.history.topic_reader import StartingPoint, TopicReader, readable
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)
KAFKA_ALONE_UP_TO = 50_000
"""Up to this many records are read from Kafka alone, if it has them: that takes less than a second."""
_ADMIN_SECONDS = 5.0
_RETRY_SECONDS = 1.0
_GAP_RETRY_SECONDS = 15.0


class Backfill:
    """Reads missing offsets on its own thread."""

    def __init__(
        self,
        clickhouse_url: SecretStr,
        *,
        reader: TopicReader,
        live: LiveHistory,
        metrics: Metrics,
    ) -> None:
        self._clickhouse_url = clickhouse_url
        self._reader = reader
        self._live = live
        self._metrics = metrics
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._topic: TopicIdentity | None = None
        self._missing = Spans()
        self._elsewhere: StartingPoint | None = None
        self._is_looked_for = False
        """Whether every offset of ``_missing`` was requested and found nowhere."""
        self._thread = threading.Thread(target=self._run, name="backfill", daemon=True)
        self.error: str | None = None
        """Why the last attempt was incomplete; None if it was not."""

    def start(self) -> None:
        """Start reading; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what was read is kept."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(5)

    @property
    def gap(self) -> str | None:
        """The gap: which part of the history is in no store; None if nothing is known to be missing."""
        with self._changed:
            if not self._is_looked_for or self._is_complete():
                return None
            parts = [f"partition {p}: offsets {first} to {end - 1}" for p, first, end in self._missing]
            if self._elsewhere is not None:
                parts.append("an earlier incarnation of the topic")
            return "neither Kafka nor ClickHouse has " + ", ".join(parts)

    def require(self, topic: TopicIdentity, missing: Spans, elsewhere: StartingPoint | None = None) -> None:
        """Also read these offsets of ``topic``, and what followed ``elsewhere`` in another incarnation of it.

        What is missing of other incarnations than ``topic`` is read from ClickHouse only from now on.
        """
        with self._changed:
            if self._topic is not None and self._topic.topic_id != topic.topic_id:
                if len(self._missing) and elsewhere is None:
                    from_ = {p: first for p, first, _ in reversed(list(self._missing))}
                    elsewhere = StartingPoint(self._topic.topic_id, from_)
                self._missing = Spans()
            self._topic = topic
            for partition, first, end in missing:
                self._missing.add(partition, first, end)
            self._elsewhere = elsewhere or self._elsewhere
            self._is_looked_for = False
            self._changed.notify_all()

    def forget_before(self, offsets: dict[int, int]) -> None:
        """Stop looking for offsets before ``offsets``, which the served model contains."""
        with self._changed:
            for partition, first in offsets.items():
                self._missing.remove(partition, 0, first)
            self._note_gap()
            self._changed.notify_all()

    def wait(self, seconds: float) -> str | None:
        """Return None once everything available is read, or after ``seconds`` what is still to be read."""
        with self._changed:
            if self._changed.wait_for(lambda: self._is_looked_for or self._is_complete(), seconds):
                return None
            return f"{len(self._missing)} records are still to be read" + (f" ({self.error})" if self.error else "")

    def _is_complete(self) -> bool:
        return not len(self._missing) and self._elsewhere is None

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                patience = _GAP_RETRY_SECONDS if self._is_looked_for else None
                self._changed.wait_for(
                    lambda: self._stopping.is_set() or not (self._is_complete() or self._is_looked_for), patience
                )
                if self._stopping.is_set() or self._is_complete():
                    continue
            try:
                self._look()
            except (KafkaException, TimeoutError) as error:
                self._report(reason(error))
            except Exception as error:  # keep the thread alive whatever happens: its death would go unnoticed
                log.exception("reading the history failed")
                self._report(str(error) or type(error).__name__)
            with self._changed:
                self._changed.notify_all()
                if not self._is_looked_for and not self._is_complete():
                    self._changed.wait_for(self._stopping.is_set, _RETRY_SECONDS)

    def _report(self, error: str | None) -> None:
        if error is not None and self.error != error:
            log.warning("part of the history cannot be read now: %s", error)
        self.error = error

    def _look(self) -> None:
        """Read what is missing from where it is, keeping partial progress."""
        with self._changed:
            topic, missing, elsewhere = self._topic, self._missing.copy(), self._elsewhere
        assert topic is not None, "nothing is missing before there is a topic"
        began, wanted = time.monotonic(), len(missing)
        there: dict[int, tuple[int, int]] = {}
        kafka: str | None = None
        try:
            there = readable(self._reader.admin(), topic, timeout_seconds=_ADMIN_SECONDS)
        except (KafkaException, TimeoutError) as error:
            kafka = f"Kafka: {reason(error)}"
        is_deleted = any(first < there.get(p, (end, end))[0] for p, first, end in missing)
        clickhouse: str | None = None
        if is_deleted or elsewhere is not None or wanted > KAFKA_ALONE_UP_TO:
            try:
                self._read_clickhouse(topic, missing, elsewhere)
            except Exception as error:  # whatever it is, read from Kafka
                log.warning("the history cannot be read from ClickHouse: %s", error)
                clickhouse = f"ClickHouse: {type(error).__name__}"
        self._read_kafka(topic, there)
        with self._changed:
            if self._topic is not topic:
                return
            open_ = [p for p, _, _ in self._missing if p not in there]
            is_final = not open_ and not any(len(self._missing.within(p, *there[p])) for p in there)
            self._is_looked_for = is_final
            self._note_gap()
        self._report(kafka or clickhouse or (f"partitions {open_} do not answer" if open_ else None))
        if self.gap is not None:
            log.error("part of the viewers' history is missing: %s", self.gap)
        elif wanted:
            log.info("the history was read", extra={"records": wanted, "seconds": round(time.monotonic() - began, 2)})

    def _read_clickhouse(self, topic: TopicIdentity, missing: Spans, elsewhere: StartingPoint | None) -> None:
        stored = StoredEvents.connect(self._clickhouse_url)
        for piece, batches in stored.changes(topic.epoch, stored.held(topic.epoch, missing)):
            for changes in batches:
                self._live.fold(changes)
                if self._stopping.is_set():
                    return
            self._note_read(topic, [piece])
        if elsewhere is not None and elsewhere.topic_id is not None:
            for changes in stored.changes_of_other_topics(epoch_of(elsewhere.topic_id), elsewhere.offsets):
                self._live.fold(changes)
            with self._changed:
                if self._elsewhere is elsewhere:
                    self._elsewhere = None

    def _read_kafka(self, topic: TopicIdentity, there: dict[int, tuple[int, int]]) -> None:
        def fold(changes: list[Change], progress: dict[int, tuple[int, int]]) -> None:
            self._live.fold(changes)
            self._note_read(topic, [(p, first, end) for p, (first, end) in progress.items()])

        while not self._stopping.is_set():
            with self._changed:
                if self._topic is not topic:
                    return
                wanted = Spans()
                for partition, (begin, end) in there.items():
                    for span in self._missing.within(partition, begin, end):
                        wanted.add(*span)
                    # Kafka lost the records after its end; the follower continues from there.
                    self._missing.remove(partition, end, 1 << 63)
            before = len(wanted)
            if not before:
                return
            self._reader.read_again(wanted, fold, self._stopping)
            with self._changed:
                if sum(len(self._missing.within(p, first, end)) for p, first, end in wanted) == before:
                    return  # no progress: the partitions ended early

    def _note_read(self, topic: TopicIdentity, spans: list[tuple[int, int, int]]) -> None:
        with self._changed:
            if self._topic is not None and self._topic.topic_id == topic.topic_id:
                for span in spans:
                    self._missing.remove(*span)

    def _note_gap(self) -> None:
        lost = len(self._missing) + (self._elsewhere is not None)
        self._metrics.live_gap.set(lost if self._is_looked_for else 0)


def reason(error: KafkaException | TimeoutError) -> str:
    """Return the message for operators about Kafka."""
    return error.args[0].str() if isinstance(error, KafkaException) else "Kafka does not answer"

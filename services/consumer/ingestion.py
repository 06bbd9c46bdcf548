"""Kafka to ClickHouse: poll, decode, store, then commit. The safety order is `Ingestion._settle`, in one function."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.common.metrics_server import Heartbeat
from services.consumer.batch import Block, Limits, Rejected
from services.consumer.breaker import Breaker, longest_run
from services.consumer.commits import Commits, raise_partition_errors
from services.consumer.decode import OFFSET, USER, Reason, Stream
from services.consumer.errors import Remedy, label_of, remedy_for
from services.consumer.intake import Intake
from services.consumer.lifecycle import GivenUpError, Lifecycle
from services.consumer.membership import Membership, Owned, Place
from services.consumer.metrics import Metrics
from services.consumer.retry import USUAL_SECONDS, Retrier
from services.consumer.start import StartOffsets
from services.consumer.worker import Worker
from services.consumer.writer import Writer

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
COMMIT_POLL_SECONDS = 0.005
AT_ONCE = 100
"""Messages decoded before checking for other work: about a millisecond."""
COMMIT_SECONDS = 15.0
"""After this long without an answer a commit is sent again."""
_NOT_OURS = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.FENCED_MEMBER_EPOCH,
    KafkaError.REBALANCE_IN_PROGRESS,
}


class Ingestion:
    """Moves the records of ``streams`` to ClickHouse until `stop` is called.

    Everything runs on the thread that calls `run`, except calls to ClickHouse: they run on a worker thread, so that
    polling never stops and the consumer stays in the group however long they take.
    """

    def __init__(
        self,
        consumer: Consumer,
        streams: Sequence[Stream],
        *,
        commits: Commits,
        starts: StartOffsets,
        writer: Writer,
        breaker: Breaker,
        metrics: Metrics,
        heartbeat: Heartbeat,
        limits: Limits,
        held_rows: int,
        revoke_seconds: float,
        stop_seconds: float,
        only_bad: Mapping[Place, range] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``only_bad``: consume only up to the ends of these spans; the breaker ignores bad records in them."""
        self._consumer = consumer
        self._commits = commits
        self._topics = [stream.topic for stream in streams]
        self._writer = writer
        self._breaker = breaker
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._expected_bad = only_bad or {}
        self._clock = clock
        self._lifecycle = Lifecycle(revoke_seconds=revoke_seconds, stop_seconds=stop_seconds, clock=clock)
        self._worker = Worker("writer")
        self._retrier = Retrier(self._worker, self, lambda code: metrics.insert_retries.labels(code).inc())
        self._membership = Membership(consumer, starts, metrics, drain=self._drain, drop=self._drop, fail=self.fail)
        until = None if only_bad is None else {place: stretch.stop for place, stretch in only_bad.items()}
        self._intake = Intake(
            streams, self._membership, metrics, limits=limits, held_rows=held_rows, clock=clock, until=until
        )

    def stop(self) -> None:
        """Ask the ingestion to store what it holds, commit and return. Safe from signal handlers and threads."""
        self._lifecycle.stop()

    def fail(self, error: BaseException) -> None:
        """Make `run` raise ``error`` soon, with nothing more stored or committed. Safe from threads."""
        self._lifecycle.fail(error)

    def owned(self) -> dict[Place, Owned]:
        """Return the partitions that are ours now. Safe from threads."""
        return dict(self._membership.owned)

    def run(self) -> None:
        """Consume until `stop`; then store and commit what is held, and leave the group.

        Raises:
            BreakerOpenError: too many records would go to quarantine.
            RestartError: a new ingestion can go on.
            StopError: a person has to look; a `GapError` when records are gone that were never stored.
        """
        self._membership.join(self._topics)
        try:
            while not self._lifecycle.is_stopping:
                self._heartbeat.beat()
                if not self._intake.is_waited_for:
                    self._intake.offer(self._consumer.consume(self._intake.room, POLL_SECONDS))
                self._intake.take_in()
                self._lifecycle.raise_failure()
                with self._lifecycle.storing():
                    self._settle(self._intake.due())
            while self._intake.is_holding:
                self._intake.take_in()
                with self._lifecycle.storing():
                    self._settle(self._intake.all())
            self._lifecycle.raise_failure()
        except GivenUpError:
            log.warning("stopped before everything was stored; what is left will be redelivered")
        finally:
            self._lifecycle.close()
            self._worker.close()
            self._consumer.close()
            log.info("left the group", extra={"records_taken": self._intake.taken})

    def _settle(self, blocks: list[Block]) -> None:
        """Store blocks, then commit them: the only order in which nothing can be lost.

        A crash before the commit repeats the inserts, which changes nothing; after it there is nothing to repeat.
        """
        if not blocks:
            return
        ours = [(block, self._membership.owned[block.place]) for block in blocks]
        topics = {owned.topic for _, owned in ours}
        self._retrier.call("the topics' identity", lambda: self._membership.confirm(topics))
        for block in blocks:
            self._raise_if_too_much_is_bad(block)
            parts = self._retrier.call("erased viewers", partial(self._writer.split, block))
            self._note_holes(block)
            self._set_aside(block, parts.rejected, parts.erased)
            self._store(parts.good)
        self._commit(ours)

    def _note_holes(self, block: Block) -> None:
        if block.holes:
            self._retrier.call("offsets without a record", lambda: self._writer.note_holes(block))

    def _set_aside(self, block: Block, rejected: list[Rejected], erased: list[int]) -> None:
        if rejected or erased:
            self._retrier.call("quarantine", lambda: self._writer.set_aside(block, rejected, erased))

    def _store(self, block: Block) -> None:
        """Store good rows. If ClickHouse rejects the data, bisect to find the row, and quarantine it."""
        try:
            self._retrier.call(block.stream.table, lambda: self._writer.store(block))
        except Exception as error:
            if remedy_for(error) is not Remedy.BISECT:
                raise
            if len(block.rows) > 1:
                for half in block.halves():
                    self._store(half)
                    self._breaker.observe(block.place, len(half.rows), 0, 0)
            else:
                self._breaker.observe(block.place, 0, 1, 1)
                reason = f"ClickHouse error {label_of(error)}"
                refused = Rejected(block.records[0], Reason.REFUSED, reason, block.rows[0][USER])
                self._set_aside(block, [refused], [])

    def _commit(self, ours: list[tuple[Block, Owned]]) -> None:
        """Commit ``last + 1`` of the blocks whose partitions we still own, with the topic's id as metadata."""

        def commit() -> None:
            offsets = [
                TopicPartition(block.stream.topic, block.partition, block.last + 1, owned.topic.topic_id)
                for block, owned in ours
                if self._membership.owned.get(block.place) is owned
            ]
            if not offsets:
                return
            try:
                self._commit_and_wait(offsets)
            except KafkaException as error:
                self._metrics.commit_failures.inc()
                if error.args[0].code() not in _NOT_OURS:
                    raise
                log.warning(
                    "partitions no longer owned, so not committed; the new owner repeats the records: %s", error
                )

        self._retrier.call("commit", commit, here=True)

    def _commit_and_wait(self, offsets: list[TopicPartition]) -> None:
        """Return once the broker has stored the offsets. Messages polled meanwhile go to the next blocks.

        While stopping nothing is polled, as it would only be delivered again.
        """
        if not self._lifecycle.may_poll:  # in a callback the client answers only this thread
            raise_partition_errors(self._consumer.commit(offsets=offsets, asynchronous=False))
            return
        self._commits.ask(self._consumer, offsets)
        begin = self._clock()
        while not self._commits.is_answered:
            waited = self._clock() - begin
            if waited > COMMIT_SECONDS:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            if waited < USUAL_SECONDS and self._intake.room and not self._lifecycle.is_stopping:
                self._poll(0 if self.work_ahead() else COMMIT_POLL_SECONDS)
            else:
                self.wait(COMMIT_POLL_SECONDS)
        self._commits.raise_error()

    def _raise_if_too_much_is_bad(self, block: Block) -> None:
        self._metrics.block_rows.labels(block.stream.topic).observe(len(block))
        expected = self._expected_bad.get(block.place, ())
        bad = [bad.record.offset for bad in block.rejected if bad.record.offset not in expected]
        run = longest_run(bad, [row[OFFSET] for row in block.rows]) if bad else 0
        self._breaker.observe(block.place, len(block.rows), len(bad), run)

    def _drain(self, places: list[Place]) -> None:
        """Store and commit what we hold of revoked partitions, if time allows; otherwise drop it."""
        blocks = self._intake.of(places)
        self._intake.drop(places)
        if not self._lifecycle.may_release:
            log.info("revoked while blocks were being stored; the new owner repeats them")
            return
        try:
            with self._lifecycle.releasing():
                self._settle(blocks)
        except GivenUpError:
            log.warning("no time to store what was held of revoked partitions; the new owner repeats it")

    def _drop(self, places: list[Place]) -> None:
        self._intake.drop(places)

    def work_ahead(self) -> bool:
        """Decode some messages polled earlier; return whether there were any."""
        return self._lifecycle.may_poll and self._intake.take_in(AT_ONCE)

    def wait(self, seconds: float) -> None:
        """Wait with all partitions paused, polling Kafka to stay in the group.

        Raises:
            GivenUpError: the time limit for shutdown or revocation is reached.
        """
        until = self._clock() + seconds
        while True:
            self._heartbeat.beat()
            self._lifecycle.raise_if_over()
            left = max(0.0, min(until - self._clock(), POLL_SECONDS))
            if self._lifecycle.may_poll:
                self._membership.pause()
                self._poll(left)
            else:
                time.sleep(left)
            if until - self._clock() <= 0:
                return

    def _poll(self, seconds: float) -> None:
        message = self._consumer.poll(seconds)
        if message is not None:
            self._intake.offer([message])

    def resume(self) -> None:
        """Fetch again after `wait`."""
        if self._lifecycle.may_poll:
            self._intake.note_disturbance(self._membership.resume())

"""The partitions that this consumer owns, and of which incarnation of their topic."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.common.kafka import TopicIdentity
from services.consumer.errors import StopError
from services.consumer.metrics import Metrics
from services.consumer.start import StartOffsets, UnansweredError

log = logging.getLogger(__name__)

Place = tuple[str, int]
"""Topic and partition."""


class RestartError(StopError):
    """This ingestion cannot go on, but a new one can. Nothing has been committed that is not stored."""


@dataclass(eq=False)
class Owned:
    """An owned partition. Each assignment makes a new object, to tell blocks of an earlier assignment apart."""

    topic: TopicIdentity
    next: int
    """The next offset to process."""
    sought: int | None = None
    """Where we sought back to, because records from there were not delivered."""
    is_steady: bool = False
    """Whether fetching was not interrupted since the last record, so that Kafka's client has skipped nothing."""
    unreadable: str = ""
    """Why the client cannot read the next records, if it reported an error."""


def raise_if_recreated(topic: TopicIdentity, present: TopicIdentity) -> None:
    """Raise the RestartError if ``present`` is another incarnation of the topic."""
    if present.topic_id != topic.topic_id:
        raise RestartError(
            f"the topic {topic.name} was recreated: {topic.topic_id} became {present.topic_id}; "
            f"its rows go to epoch {present.epoch} and the old ones stay"
        )


class Membership:
    """The consumer's part in the group. Its callbacks run inside the consumer's `poll` and `consume`, on that thread.

    Errors must not pass through librdkafka: they go to ``fail``, and the ingestion raises them.
    """

    def __init__(
        self,
        consumer: Consumer,
        starts: StartOffsets,
        metrics: Metrics,
        *,
        drain: Callable[[list[Place]], None],
        drop: Callable[[list[Place]], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        """``drain`` stores and commits what is held of revoked partitions; ``drop`` discards it."""
        self._consumer = consumer
        self._starts = starts
        self._metrics = metrics
        self._drain = drain
        self._drop = drop
        self._fail = fail
        self._paused: set[Place] = set()
        self.owned: dict[Place, Owned] = {}

    def join(self, topics: list[str]) -> None:
        """Subscribe; partitions come with a later poll."""
        self._consumer.subscribe(topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def confirm(self, topics: Iterable[TopicIdentity]) -> None:
        """Return if the topics are still these incarnations, so that everything polled so far belongs to them.

        Raises:
            RestartError: a topic was deleted and recreated.
            KafkaException: the broker does not answer, or there is no such topic now.
        """
        for topic in topics:
            raise_if_recreated(topic, self._starts.identify(topic.name))

    def on_unavailable_offset(self, place: Place, error: KafkaError) -> None:
        """The broker does not have the offset that the client asked for. Look whether records are gone.

        The client also says so of a partition that we no longer own, and of the topic's last incarnation after it has
        assigned the next: then there is no gap.

        Raises:
            GapError: records that are not committed are gone; it names them.
            RestartError: none are, the topic was deleted and recreated, or a store does not answer.
        """
        owned = self.owned.get(place)
        if owned is None:
            return
        with suppress(KafkaException, ClickHouseError, UnansweredError):
            self.confirm([owned.topic])
            self._starts.of(owned.topic, [place[1]])
        raise RestartError(f"{place[0]}/{place[1]}: the offset that was asked for is not there: {error}")

    def pause(self) -> None:
        """Stop fetching what is ours, so that polling only keeps us in the group."""
        new = set(self.owned) - self._paused
        if new:
            self._consumer.pause([TopicPartition(*place) for place in new])
            self._paused |= new

    def resume(self) -> set[Place]:
        """Undo `pause`; return the partitions whose fetching restarts."""
        paused = self._paused & set(self.owned)
        self._paused.clear()
        if paused:
            self._consumer.resume([TopicPartition(*place) for place in paused])
        return paused

    def go_back(self, place: Place) -> None:
        """Fetch again from the next offset to process."""
        self._consumer.seek(TopicPartition(*place, self.owned[place].next))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._metrics.rebalances.labels("assigned").inc()
        try:
            for topic, group in groupby(sorted(partitions, key=_place), key=lambda tp: tp.topic):
                numbers = [tp.partition for tp in group]
                identity = self._starts.identify(topic)
                starts = self._starts.of(identity, numbers)
                places = [TopicPartition(topic, p, start.offset, identity.topic_id) for p, start in starts.items()]
                for p, start in starts.items():
                    self.owned[topic, p] = Owned(identity, start.offset)
                consumer.incremental_assign(places)
                consumer.resume(places)  # librdkafka remembers a pause from before we lost them
                self._commit_first(consumer, [place for place in places if starts[place.partition].is_first])
                log.info("assigned", extra={"topic": topic, "offsets": {p: s.offset for p, s in starts.items()}})
        except StopError as error:
            self._fail(error)
        except Exception as error:
            self._fail(RestartError(f"cannot tell where to begin: {error}"))

    @staticmethod
    def _commit_first(consumer: Consumer, first: list[TopicPartition]) -> None:
        """Commit the first offsets, so that the audit can count from them before the first record comes."""
        if not first:
            return
        try:
            consumer.commit(offsets=first, asynchronous=False)
        except KafkaException as error:
            log.warning("the first offsets are not committed; the first block's commit will replace them: %s", error)

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go("revoked", partitions, self._drain)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go("lost", partitions, self._drop)

    def _let_go(self, kind: str, partitions: list[TopicPartition], settle: Callable[[list[Place]], None]) -> None:
        self._metrics.rebalances.labels(kind).inc()
        places = [_place(tp) for tp in partitions]
        log.info(kind, extra={"partitions": sorted(places)})
        try:
            settle(places)
        except Exception as error:
            self._fail(error)
        finally:
            for place in places:
                self.owned.pop(place, None)
                self._paused.discard(place)


def _place(tp: TopicPartition) -> Place:
    return tp.topic, tp.partition

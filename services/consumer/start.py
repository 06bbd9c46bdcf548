"""Where to begin reading a partition: never after a gap, never in another incarnation of the topic."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from confluent_kafka.admin import AdminClient

from services.common import audit
from services.common.kafka import (
    Committed,
    TopicIdentity,
    begin_offsets,
    committed_offsets,
    describe_topic,
    end_offsets,
)
from services.consumer.errors import StopError

log = logging.getLogger(__name__)


ACCEPT = "If that is understood: python -m services.consumer bootstrap --accept-gap"


class GapError(StopError):
    """Records are gone that were never stored."""


def overtaken(name: str, next_offset: int, begin: int) -> str:
    """Say that retention deleted records before we stored them."""
    return f"{name}: retention has overtaken the consumer: offsets {next_offset} to {begin - 1} are gone. {ACCEPT}"


@dataclass(frozen=True)
class Start:
    """Where reading a partition begins. ``is_first``: of this incarnation, to be noted as such."""

    offset: int
    is_first: bool = False


@dataclass(frozen=True)
class Situation:
    """All that the decision for one partition depends on."""

    topic: TopicIdentity
    partition: int
    committed: Committed | None
    noted_first: int | None
    """Where reading of this incarnation once began; None: it never was read."""
    begin: int | None
    end: int | None
    """None: nobody answers for the partition now."""


class UnansweredError(Exception):
    """Where a partition begins cannot be told now."""


def decide(s: Situation, unstored: Callable[[int, int], int]) -> Start:
    """Return where to begin.

    ``unstored(a, b)`` counts the offsets of [a, b) that ClickHouse does not hold; it is asked only when the
    group's offsets are lost, to tell a harmless loss from a gap.

    Raises:
        GapError: records between what is stored and what the broker still has are gone, or the log is shorter than
            what was committed.
        UnansweredError: nobody answers for a partition of which nothing is committed.
    """
    name = f"{s.topic.name}/{s.partition}"
    if s.committed is not None and s.committed.is_for(s.topic):
        if s.begin is None or s.end is None:  # fetching will tell whether it is still there
            return Start(s.committed.offset)
        if s.committed.offset < s.begin:
            raise GapError(overtaken(name, s.committed.offset, s.begin))
        if s.committed.offset > s.end:
            raise GapError(
                f"{name}: {s.committed.offset} is committed, but the log ends at {s.end}: the broker lost records"
            )
        return Start(s.committed.offset)
    if s.begin is None:
        raise UnansweredError(f"{name}: nothing is committed, and nobody tells where it begins")
    if s.noted_first is None:
        log.info("first reading of %s (topic id %s) begins at offset %d", name, s.topic.topic_id, s.begin)
        return Start(s.begin, is_first=True)
    again = max(s.begin, s.noted_first)
    if (gone := unstored(s.noted_first, again)) > 0:
        raise GapError(
            f"{name}: the group's offset is lost and {gone} records before offset {again} are neither stored nor in "
            f"Kafka. {ACCEPT}"
        )
    log.warning("%s: the group's offset is lost; reading again from %d, which changes no stored row", name, again)
    return Start(again)


class StartOffsets:
    """Looks up the situation of partitions and decides. Used from one thread at a time."""

    def __init__(self, make_admin: Callable[[], AdminClient], connect: Callable[[], Client], group: str) -> None:
        """``connect`` makes a ClickHouse client; called only for partitions whose offsets aren't in Kafka."""
        self._make_admin = make_admin
        self._admin = make_admin()
        self._connect = connect
        self._group = group

    def identify(self, topic: str) -> TopicIdentity:
        """Return the topic's present incarnation."""
        return describe_topic(self._admin, topic)

    def of(self, topic: TopicIdentity, partitions: Iterable[int]) -> dict[int, Start]:
        """Return where to begin in each partition, and note the first readings in ClickHouse.

        Raises:
            GapError: of the first partition that has one.
            KafkaException, clickhouse_connect.driver.exceptions.Error: somebody does not answer.
        """
        admin = self._make_admin()
        committed = committed_offsets(admin, self._group, topic)
        begin, end = begin_offsets(admin, topic, partial=True), end_offsets(admin, topic, partial=True)
        wanted = sorted(partitions)
        client: Client | None = None
        noted: dict[int, int] = {}
        if any(p not in committed or not committed[p].is_for(topic) for p in wanted):
            client = self._connect()
            noted = audit.first_offsets(client, topic)
        starts = {}
        for p in wanted:
            situation = Situation(topic, p, committed.get(p), noted.get(p), begin.get(p), end.get(p))
            starts[p] = decide(situation, lambda a, b, p=p: self._unstored(topic, p, a, b))  # type: ignore[misc]
        first = {p: start.offset for p, start in starts.items() if start.is_first}
        if first and client is not None:
            audit.note_first_offsets(client, topic, first)
        return starts

    def _unstored(self, topic: TopicIdentity, partition: int, first: int, until: int) -> int:
        return audit.missing(self._connect(), topic, {partition: until}, {partition: first})[partition]

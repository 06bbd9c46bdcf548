"""`bootstrap`: create the topics and commit the first offsets. Idempotent: existing commits are kept."""

import logging
from collections.abc import Callable

from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from services.common import audit
from services.common.kafka import (
    TopicIdentity,
    TopicSpec,
    begin_offsets,
    committed_offsets,
    describe_topic,
    end_offsets,
    ensure_topics,
)
from services.consumer.start import GapError, StartOffsets
from services.contracts.tables import ABSENT_OFFSETS

log = logging.getLogger(__name__)

LOST = "lost"


def bootstrap(
    admin: AdminClient, connect: Callable[[], Client], group: str, topics: list[TopicSpec], *, accept_gap: bool = False
) -> dict[str, dict[int, int]]:
    """Create missing topics; commit the first offsets of partitions without a commit; return all commits.

    With ``accept_gap`` records that are gone for good are entered as lost, so that the audit adds up again, and
    reading goes on behind them. While members of the group run they begin by themselves; then only what they
    have not begun could be committed, which the broker refuses: stop them first.

    Raises:
        GapError: records are gone, and ``accept_gap`` is not given.
        KafkaException: the broker does not answer, or the group is in use.
    """
    for name in ensure_topics(admin, topics):
        log.info("created the topic %s", name)
    done: dict[str, dict[int, int]] = {}
    problems: list[Exception] = []
    for spec in topics:
        try:
            done[spec.name] = _bootstrap_topic(admin, connect, group, spec.name, accept_gap)
        except (GapError, KafkaException) as error:  # still bootstrap the other topic
            log.error("cannot bootstrap %s: %s", spec.name, error)  # noqa: TRY400
            problems.append(error)
    if problems:
        raise problems[0]
    return done


def _bootstrap_topic(
    admin: AdminClient, connect: Callable[[], Client], group: str, name: str, accept_gap: bool
) -> dict[int, int]:
    topic = describe_topic(admin, name)
    before = {p: c for p, c in committed_offsets(admin, group, topic).items() if c.is_for(topic)}
    if accept_gap:
        accepted = _accept_gaps(admin, connect(), topic, {p: c.offset for p, c in before.items()})
        _commit(admin, group, topic, accepted)
        before = {p: c for p, c in committed_offsets(admin, group, topic).items() if c.is_for(topic)}
    starts = StartOffsets(lambda: admin, connect, group).of(topic, topic.partitions)
    _commit(admin, group, topic, {p: start.offset for p, start in starts.items() if p not in before})
    return {p: start.offset for p, start in starts.items()}


def _accept_gaps(admin: AdminClient, client: Client, topic: TopicIdentity, committed: dict[int, int]) -> dict[int, int]:
    """Record unstored offsets before the broker's first record as lost; return the offset after them."""
    begin, end = begin_offsets(admin, topic), end_offsets(admin, topic)
    first = audit.first_offsets(client, topic)
    go_on: dict[int, int] = {}
    for p in topic.partitions:
        offset = committed.get(p)
        if offset is not None and offset > end[p]:
            raise GapError(f"{topic.name}/{p}: {offset} is committed but the log ends at {end[p]}: restore the broker")
        if (offset is not None and offset >= begin[p]) or (offset is None and p not in first):
            continue
        gap_from = offset if offset is not None else first[p]
        if gap_from < begin[p] and (lost := audit.missing(client, topic, {p: begin[p]}, {p: gap_from})[p]):
            log.error("accepted as lost: %d of offsets %d to %d of %s/%d", lost, gap_from, begin[p] - 1, topic.name, p)
            place = f"epoch = {topic.epoch} AND partition = {p} AND offset >= {gap_from} AND offset < {begin[p]}"
            stored = " UNION ALL ".join(f"SELECT offset FROM {table} WHERE {place}" for table in audit.ACCOUNTED_FOR)  # noqa: S608
            client.command(
                f"INSERT INTO {ABSENT_OFFSETS} (epoch, partition, offset, reason) "  # noqa: S608
                f"SELECT {topic.epoch}, {p}, number, '{LOST}' FROM numbers({gap_from}, {begin[p] - gap_from}) "
                f"WHERE number NOT IN ({stored})"
            )
        go_on[p] = max(gap_from, begin[p])
    return go_on


def _commit(admin: AdminClient, group: str, topic: TopicIdentity, offsets: dict[int, int]) -> None:
    if not offsets:
        return
    wanted = [TopicPartition(topic.name, p, offset, topic.topic_id) for p, offset in offsets.items()]
    future = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])[group]
    for done in future.result().topic_partitions:
        if done.error is not None:
            raise GapError(f"{topic.name}/{done.partition}: cannot commit {done.offset}: {done.error}")
    log.info("committed first offsets", extra={"topic": topic.name, "offsets": offsets})

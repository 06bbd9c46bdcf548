"""A consumer group's position in a topic: committed offsets, lag, retention."""

from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from services.common.kafka import TopicIdentity, begin_offsets, committed_offsets, end_offsets


@dataclass(frozen=True)
class Position:
    """One partition: the broker has the records of ``[begin, end)``; not every offset need have one."""

    begin: int
    end: int
    committed: int | None
    """The group's committed offset in this incarnation of the topic; None: none yet."""

    @property
    def stored_to(self) -> int:
        """Everything before this offset is stored; without a commit, nothing is."""
        return self.begin if self.committed is None else self.committed

    @property
    def lag(self) -> int:
        """The lag in offsets: as many records, except for transaction markers and aborted transactions."""
        return max(0, self.end - self.stored_to)

    @property
    def is_overtaken(self) -> bool:
        """Whether the broker has deleted records that were not stored."""
        return self.stored_to < self.begin


def positions(
    client: AdminClient, group: str, topic: TopicIdentity, *, timeout_seconds: float = 5
) -> dict[int, Position]:
    """Return the position in every partition for which a broker answers.

    The commits are read first, so that a lag is never too small.

    Raises:
        KafkaException: no broker answers in time, or the group's coordinator does not.
    """
    committed = committed_offsets(client, group, topic, timeout_seconds=timeout_seconds)
    begin = begin_offsets(client, topic, timeout_seconds=timeout_seconds, partial=True)
    end = end_offsets(client, topic, timeout_seconds=timeout_seconds, partial=True)
    ours = {p: c.offset for p, c in committed.items() if c.is_for(topic)}
    return {p: Position(begin[p], end[p], ours.get(p)) for p in topic.partitions if p in begin and p in end}

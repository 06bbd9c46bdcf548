"""Asynchronous commits, awaited while Kafka's client keeps polling."""

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition


def raise_partition_errors(partitions: Sequence[TopicPartition]) -> None:
    """Raise the first partition's error as KafkaException, if one has any."""
    for partition in partitions:
        if partition.error is not None:
            raise KafkaException(partition.error)


class Commits:
    """One commit at a time. Its answer comes through ``on_commit``, inside the consumer's `poll`, on that thread.

    A blocking commit from another thread can deadlock: the client serves one call at a time (confluent-kafka 2.16), so
    the commit blocks the poll, while librdkafka delays the commit until a rebalance that only the poll can serve.
    """

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, int], int] | None = None
        self._error: KafkaError | None = None

    def on_commit(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """Receive the broker's answer; answers to abandoned commits are ignored."""
        if self._wanted == _offsets(partitions):
            self._wanted = None
            self._error = error or next((tp.error for tp in partitions if tp.error is not None), None)

    def ask(self, consumer: Consumer, offsets: Sequence[TopicPartition]) -> None:
        """Send a commit; returns at once.

        Raises:
            KafkaException: the client cannot even send it.
        """
        self._wanted = _offsets(offsets)
        consumer.commit(offsets=list(offsets), asynchronous=True)

    @property
    def is_answered(self) -> bool:
        """Whether the last commit's answer has come."""
        return self._wanted is None

    def raise_error(self) -> None:
        """Raise the last answer as KafkaException, if it was an error."""
        if self._error is not None:
            raise KafkaException(self._error)


def _offsets(partitions: Sequence[TopicPartition]) -> dict[tuple[str, int], int]:
    return {(tp.topic, tp.partition): tp.offset for tp in partitions}

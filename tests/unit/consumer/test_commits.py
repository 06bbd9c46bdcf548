"""Which answer belongs to the commit that is awaited."""

from typing import cast

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.consumer.commits import Commits


class NeverAnswers:
    """A client that takes commits; a real one without a broker would take minutes to be closed."""

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert offsets
        assert asynchronous


@pytest.fixture
def consumer() -> Consumer:
    return cast(Consumer, NeverAnswers())


def test_an_answer_to_the_same_offsets_ends_the_waiting(consumer: Consumer) -> None:
    commits = Commits()
    commits.ask(consumer, [TopicPartition("events", 0, 5), TopicPartition("events", 1, 7)])
    assert not commits.is_answered
    commits.on_commit(None, [TopicPartition("events", 1, 7), TopicPartition("events", 0, 5)])
    assert commits.is_answered
    commits.raise_error()


def test_a_late_answer_to_an_earlier_commit_is_not_taken_for_this_one(consumer: Consumer) -> None:
    commits = Commits()
    commits.ask(consumer, [TopicPartition("events", 0, 5)])
    commits.ask(consumer, [TopicPartition("events", 0, 9)])
    commits.on_commit(None, [TopicPartition("events", 0, 5)])
    assert not commits.is_answered


def test_a_refusal_is_raised_and_forgotten_with_the_next_success(consumer: Consumer) -> None:
    commits, offsets = Commits(), [TopicPartition("events", 0, 5)]
    commits.ask(consumer, offsets)
    commits.on_commit(KafkaError(KafkaError.UNKNOWN_MEMBER_ID), offsets)
    with pytest.raises(KafkaException):
        commits.raise_error()
    commits.ask(consumer, offsets)
    commits.on_commit(None, offsets)
    commits.raise_error()

"""Where following begins, and what the backfill is asked for; the real Kafka is in the integration tests."""

from typing import Any, cast

from prometheus_client import CollectorRegistry

from services.common.kafka import TopicIdentity
from services.inference.history.backfill import Backfill
from services.inference.history.live import LiveHistory
from services.inference.history.spans import Spans
from services.inference.history.topic_follower import TopicFollower
from services.inference.history.topic_reader import StartingPoint, TopicReader
from services.inference.metrics import Metrics

TOPIC = TopicIdentity("events", "one", (0, 1))
START = StartingPoint("one", {0: 5, 1: 50})


class _Asked:
    """Notes what it is asked for, in place of a backfill."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.elsewhere: list[StartingPoint] = []

    def require(self, _topic: TopicIdentity, missing: Spans, elsewhere: StartingPoint | None = None) -> None:
        for span in missing:
            self.spans.add(*span)
        self.elsewhere += [] if elsewhere is None else [elsewhere]

    def taken(self) -> list[tuple[int, int, int]]:
        """What was asked for since the last look."""
        taken, self.spans = list(self.spans), Spans()
        return taken

    def forget_before(self, offsets: dict[int, int]) -> None:
        pass

    def wait(self, _seconds: float) -> None:
        return None

    def start(self) -> None:
        pass


def follower(start: StartingPoint = START) -> tuple[TopicFollower, _Asked]:
    """A follower that was told where to start, and has no connection yet."""
    metrics, asked = Metrics(CollectorRegistry()), _Asked()
    reader = TopicReader("127.0.0.1:9", "events", metrics)
    one = TopicFollower(
        "127.0.0.1:9", "events", live=LiveHistory(), reader=reader, backfill=cast(Backfill, asked), metrics=metrics
    )
    one._stopping.set()  # its thread ends at once
    one.cover(start)
    return one, asked


def begin(one: TopicFollower, topic: TopicIdentity, **there: Any) -> dict[int, int]:
    return one._begin(topic, {int(name[1:]): place for name, place in there.items()})


def test_it_follows_from_the_head_and_asks_for_what_lies_before() -> None:
    one, asked = follower()
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 50)) == {0: 20, 1: 50}
    assert (asked.taken(), asked.elsewhere) == ([(0, 5, 20)], [])


def test_after_trouble_it_goes_on_where_it_was() -> None:
    one, asked = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    asked.taken()
    assert begin(one, TOPIC, p0=(3, 30), p1=(0, 60)) == {0: 20, 1: 50}
    assert asked.taken() == []


def test_what_retention_has_overtaken_is_asked_of_the_backfill() -> None:
    one, asked = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    asked.taken()
    assert begin(one, TOPIC, p0=(25, 30), p1=(0, 60)) == {0: 30, 1: 50}
    assert asked.taken() == [(0, 20, 30)]


def test_a_log_that_has_become_shorter_is_followed_from_its_new_end() -> None:
    one, _ = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    assert begin(one, TOPIC, p0=(3, 10), p1=(0, 60)) == {0: 10, 1: 50}


def test_a_log_that_is_shorter_than_the_models_data_is_read_whole() -> None:
    one, asked = follower()
    one._disbelieve(TOPIC, {0: 20, 1: 40})
    begin(one, TOPIC, p0=(3, 20), p1=(0, 40))
    assert asked.taken() == [(0, 5, 20), (1, 0, 40)]


def test_an_open_transaction_at_the_end_of_the_extract_is_no_loss() -> None:
    one, asked = follower()
    one._disbelieve(TOPIC, {0: 20, 1: 50})
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 40)) == {0: 20, 1: 40}
    assert asked.taken() == [(0, 5, 20)]


def test_a_partition_that_does_not_answer_leaves_the_others_alone_and_is_not_forgotten() -> None:
    one, asked = follower()
    assert begin(one, TOPIC, p1=(0, 60)) == {1: 60}
    assert (asked.taken(), one.caught_up) == ([(1, 50, 60)], False)
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 70)) == {0: 20, 1: 60}
    assert (asked.taken(), one.caught_up) == ([(0, 5, 20)], True)


def test_a_topic_that_was_made_again_is_read_whole() -> None:
    one, asked = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    one.uncover(START)
    asked.taken()
    again = TopicIdentity("events", "two", (0, 1))
    assert begin(one, again, p0=(0, 2), p1=(0, 3)) == {0: 2, 1: 3}
    assert (asked.taken(), asked.elsewhere) == ([(0, 0, 2), (1, 0, 3)], [])


def test_a_model_of_an_earlier_topic_needs_what_followed_it_there() -> None:
    old = StartingPoint("before", {0: 7})
    one, asked = follower(old)
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    assert (asked.taken(), asked.elsewhere) == ([(0, 0, 20), (1, 0, 50)], [old])


def test_a_newer_model_needs_nothing_and_an_older_one_what_lies_before() -> None:
    one, asked = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 60))
    one.uncover(START)
    asked.taken()
    newer = StartingPoint("one", {0: 15, 1: 55})
    one.cover(newer)
    one.uncover(newer)
    assert asked.taken() == []
    one.cover(START)
    assert asked.taken() == [(0, 5, 15), (1, 50, 55)]

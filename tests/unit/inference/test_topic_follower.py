"""Where following begins, and what is requested from the backfill; integration tests cover the real Kafka."""

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


class _FakeBackfill:
    """Records what is requested from it."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.elsewhere: list[StartingPoint] = []

    def require(self, _topic: TopicIdentity, missing: Spans, elsewhere: StartingPoint | None = None) -> None:
        for span in missing:
            self.spans.add(*span)
        self.elsewhere += [] if elsewhere is None else [elsewhere]

    def taken(self) -> list[tuple[int, int, int]]:
        """Return the spans requested since the last call."""
        taken, self.spans = list(self.spans), Spans()
        return taken

    def forget_before(self, offsets: dict[int, int]) -> None:
        pass

    def wait(self, _seconds: float) -> None:
        return None

    def start(self) -> None:
        pass


def follower(start: StartingPoint = START) -> tuple[TopicFollower, _FakeBackfill]:
    """A follower that was told where to start, and has no connection yet."""
    metrics, backfill = Metrics(CollectorRegistry()), _FakeBackfill()
    reader = TopicReader("127.0.0.1:9", "events", metrics)
    one = TopicFollower("events", live=LiveHistory(), reader=reader, backfill=cast(Backfill, backfill), metrics=metrics)
    one._stopping.set()  # its thread ends at once
    one.cover(start)
    return one, backfill


def begin(one: TopicFollower, topic: TopicIdentity, **there: Any) -> dict[int, int]:
    return one._begin(topic, {int(name[1:]): place for name, place in there.items()})


def test_it_follows_from_the_head_and_requests_what_lies_before() -> None:
    one, backfill = follower()
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 50)) == {0: 20, 1: 50}
    assert (backfill.taken(), backfill.elsewhere) == ([(0, 5, 20)], [])


def test_after_an_error_it_continues_where_it_was() -> None:
    one, backfill = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    backfill.taken()
    assert begin(one, TOPIC, p0=(3, 30), p1=(0, 60)) == {0: 20, 1: 50}
    assert backfill.taken() == []


def test_records_deleted_by_retention_are_requested_from_the_backfill() -> None:
    one, backfill = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    backfill.taken()
    assert begin(one, TOPIC, p0=(25, 30), p1=(0, 60)) == {0: 30, 1: 50}
    assert backfill.taken() == [(0, 20, 30)]


def test_a_truncated_log_is_followed_from_its_new_end() -> None:
    one, _ = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    assert begin(one, TOPIC, p0=(3, 10), p1=(0, 60)) == {0: 10, 1: 50}


def test_a_log_that_ends_before_the_models_data_is_read_whole() -> None:
    one, backfill = follower()
    one._reread_truncated(TOPIC, {0: 20, 1: 40})
    begin(one, TOPIC, p0=(3, 20), p1=(0, 40))
    assert backfill.taken() == [(0, 5, 20), (1, 0, 40)]


def test_an_open_transaction_at_the_end_of_the_extract_is_not_taken_for_truncation() -> None:
    one, backfill = follower()
    one._reread_truncated(TOPIC, {0: 20, 1: 50})
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 40)) == {0: 20, 1: 40}
    assert backfill.taken() == [(0, 5, 20)]


def test_an_unavailable_partition_does_not_affect_the_others_and_is_followed_later() -> None:
    one, backfill = follower()
    assert begin(one, TOPIC, p1=(0, 60)) == {1: 60}
    assert (backfill.taken(), one.caught_up) == ([(1, 50, 60)], False)
    assert begin(one, TOPIC, p0=(3, 20), p1=(0, 70)) == {0: 20, 1: 60}
    assert (backfill.taken(), one.caught_up) == ([(0, 5, 20)], True)


def test_a_recreated_topic_is_read_whole() -> None:
    one, backfill = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    one.uncover(START)
    backfill.taken()
    again = TopicIdentity("events", "two", (0, 1))
    assert begin(one, again, p0=(0, 2), p1=(0, 3)) == {0: 2, 1: 3}
    assert (backfill.taken(), backfill.elsewhere) == ([(0, 0, 2), (1, 0, 3)], [])


def test_a_model_of_an_earlier_topic_needs_what_followed_it_there() -> None:
    old = StartingPoint("before", {0: 7})
    one, backfill = follower(old)
    begin(one, TOPIC, p0=(3, 20), p1=(0, 50))
    assert (backfill.taken(), backfill.elsewhere) == ([(0, 0, 20), (1, 0, 50)], [old])


def test_a_newer_model_needs_nothing_and_an_older_one_what_lies_before() -> None:
    one, backfill = follower()
    begin(one, TOPIC, p0=(3, 20), p1=(0, 60))
    one.uncover(START)
    backfill.taken()
    newer = StartingPoint("one", {0: 15, 1: 55})
    one.cover(newer)
    one.uncover(newer)
    assert backfill.taken() == []
    one.cover(START)
    assert backfill.taken() == [(0, 5, 15), (1, 50, 55)]

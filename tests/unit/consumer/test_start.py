from collections.abc import Callable

import pytest

from services.common.kafka import Committed, TopicIdentity
from services.consumer.start import GapError, Situation, Start, UnansweredError, decide

TOPIC = TopicIdentity("events", "id-now", (0,))


def situation(
    *,
    committed: int | None = None,
    of: str = "id-now",
    first: int | None = 0,
    begin: int | None = 0,
    end: int | None = 100,
) -> Situation:
    return Situation(TOPIC, 0, None if committed is None else Committed(committed, of), first, begin, end)


def stored_up_to(limit: int) -> Callable[[int, int], int]:
    return lambda a, b: max(0, b - max(a, limit))


def never(_a: int, _b: int) -> int:
    raise AssertionError("ClickHouse is not asked")


def test_reading_goes_on_where_it_was_committed() -> None:
    assert decide(situation(committed=42), never) == Start(42)


def test_reading_goes_on_though_nobody_tells_now_where_the_partition_begins_and_ends() -> None:
    assert decide(situation(committed=42, begin=None, end=None), never) == Start(42)
    with pytest.raises(UnansweredError, match="events/0"):
        decide(situation(first=None, begin=None, end=None), never)


def test_a_commit_by_an_operator_is_believed() -> None:
    assert decide(situation(committed=42, of=""), never) == Start(42)


def test_a_partition_that_was_never_read_begins_at_its_oldest_record() -> None:
    assert decide(situation(first=None, begin=30), never) == Start(30, is_first=True)


def test_a_commit_for_another_incarnation_does_not_count() -> None:
    assert decide(situation(committed=42, of="id-before", first=None), never) == Start(0, is_first=True)


def test_retention_that_overtook_the_consumer_is_a_gap() -> None:
    with pytest.raises(GapError, match="offsets 42 to 49 are gone"):
        decide(situation(committed=42, begin=50), never)


def test_a_log_shorter_than_what_was_committed_is_a_gap() -> None:
    with pytest.raises(GapError, match="lost records"):
        decide(situation(committed=101), never)


def test_lost_offsets_mean_reading_again_when_nothing_in_between_is_missing() -> None:
    assert decide(situation(first=0, begin=0), stored_up_to(0)) == Start(0)
    assert decide(situation(first=0, begin=50), stored_up_to(50)) == Start(50)


def test_lost_offsets_and_lost_records_are_a_gap() -> None:
    with pytest.raises(GapError, match="10 records before offset 50"):
        decide(situation(first=0, begin=50), stored_up_to(40))

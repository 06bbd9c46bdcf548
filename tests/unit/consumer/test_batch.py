import json
from dataclasses import replace
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.consumer.batch import Block, Limits, open_block, token
from services.consumer.decode import OFFSET, Reason, Row, Stream, events_stream
from services.consumer.record import Record

STREAM = events_stream("events")
OFFSETS = st.lists(st.integers(0, 1_000), min_size=1, unique=True).map(sorted)


def record(offset: int, *, good: bool = True) -> Record:
    value = {
        "event_id": str(UUID(int=offset)), "user_id": 1, "item_id": 2, "action": "like",
        "event_time": "2026-11-01T00:00:00Z",
    }  # fmt: skip
    return Record("events", 0, offset, 1_793_491_200_000 + offset, b"1", json.dumps(value).encode() if good else b"bad")


def block_of(first: Record, stream: Stream = STREAM, now: float = 0.0) -> Block:
    block = open_block(stream, 5, first.partition, first.offset, now)
    block.add(first)
    return block


def test_a_block_keeps_good_rows_and_bad_records_apart_and_spans_both() -> None:
    block = block_of(record(10, good=False))
    for offset, good in ((11, True), (12, False), (13, True)):
        block.add(record(offset, good=good))
    assert (block.first, block.last, len(block)) == (10, 13, 4)
    assert [row[OFFSET] for row in block.rows] == [r.offset for r in block.records] == [11, 13]
    assert [bad.record.offset for bad in block.rejected] == [10, 12]


def test_a_record_on_which_the_decoder_itself_fails_is_set_aside_and_the_next_one_is_decoded() -> None:
    def decode(record: Record, epoch: int) -> Row:
        if record.offset == 1:
            raise RecursionError("a fault of ours")
        return STREAM.decode(record, epoch)

    block = block_of(record(0), replace(STREAM, decode=decode))
    block.add(record(1))
    block.add(record(2))
    assert [row[OFFSET] for row in block.rows] == [0, 2]
    (bad,) = block.rejected
    assert (bad.record.offset, bad.reason, bad.detail) == (1, Reason.INVALID, "the decoder failed: RecursionError")
    assert bad.user_id == 1


def test_a_block_counts_keys_as_well_as_values() -> None:
    block = block_of(replace(record(0), key=b"k" * 900_000))
    assert block.bytes > 900_000


def test_a_block_is_due_at_the_first_limit_that_it_reaches() -> None:
    block = block_of(record(0), now=100.0)
    assert not block.is_due(Limits(rows=2, bytes=10_000, seconds=1.0), now=100.9)
    assert block.is_due(Limits(rows=1, bytes=10_000, seconds=1.0), now=100.0)
    assert block.is_due(Limits(rows=2, bytes=block.bytes, seconds=1.0), now=100.0)
    assert block.is_due(Limits(rows=2, bytes=10_000, seconds=1.0), now=101.0)


def test_halves_are_the_whole_and_carry_no_rejected_records_twice() -> None:
    block = block_of(record(0))
    for offset in range(1, 6):
        block.add(record(offset, good=offset != 3))
    left, right = block.halves()
    assert left.rows + right.rows == block.rows
    assert left.records + right.records == block.records
    assert left.rejected == right.rejected == []


@given(OFFSETS, OFFSETS)
def test_tokens_are_equal_exactly_when_the_rows_are(some: list[int], others: list[int]) -> None:
    def of(offsets: list[int]) -> str:
        return token(7, 0, 0, 1_000, offsets)

    assert (of(some) == of(others)) == (some == others)

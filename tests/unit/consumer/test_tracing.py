"""Sampled records leave a line each, few per block, and only once they are stored; all others leave none."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Message

from services.consumer.record import Record, record_of
from services.consumer.tracing import FOLLOWED, followed, ids_of
from services.contracts.trace import begin_trace
from tests.support.log_lines import logged


def record(offset: int, *headers: tuple[str, bytes]) -> Record:
    return record_of(
        Message(
            topic="events", partition=1, offset=offset, key=b"1", value=b"{}", timestamp=(1, 1_000),
            headers=list(headers) or None,
        )
    )  # fmt: skip


def sampled(offset: int) -> Record:
    _, traceparent = begin_trace()
    return record(offset, ("traceparent", traceparent.encode()), ("x-request-id", b"mine"))


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    with logged("services.consumer.tracing", "consumer") as text:
        yield text


def parsed(text: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_the_line_of_a_stored_record_says_where_it_is_and_where_it_comes_from(lines: io.StringIO) -> None:
    wanted = sampled(7)
    with followed([record(6), wanted]):
        assert parsed(lines) == []
    (line,) = parsed(lines)
    assert (line["event"], line["topic"], line["partition"], line["offset"]) == ("stored", "events", 1, 7)
    assert {"trace_id": line["trace_id"], "request_id": line["request_id"]} == ids_of(wanted)
    assert line["request_id"] == "mine"


def test_a_block_whose_every_record_is_sampled_leaves_few_lines(lines: io.StringIO) -> None:
    with followed([sampled(offset) for offset in range(1_000)]):
        pass
    assert [line["offset"] for line in parsed(lines)] == list(range(FOLLOWED))


def store_and_fail(records: list[Record]) -> None:
    with followed(records):
        raise ConnectionError


def test_what_could_not_be_stored_is_not_said_to_be(lines: io.StringIO) -> None:
    with pytest.raises(ConnectionError):
        store_and_fail([sampled(1)])
    assert parsed(lines) == []


@pytest.mark.parametrize(
    "sent",
    [
        b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00",
        b"00-" + b"0" * 32 + b"-" + b"b" * 16 + b"-01",
        b"\xff\xfe",
        b"",
    ],
)
def test_a_record_that_is_not_sampled_or_whose_header_is_malformed_is_not_followed(sent: bytes) -> None:
    assert ids_of(record(1, ("traceparent", sent), ("x-request-id", b"mine"))) == {}
    assert ids_of(record(1, ("something", b"else"))) == {}

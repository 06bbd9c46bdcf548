"""What `replay` produces again, without Kafka or ClickHouse."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException

from services.consumer.decode import Row, events_stream
from services.consumer.record import Record
from services.consumer.replay import Replayed, replay

STREAM = events_stream("events")


def quarantined(offset: int, event_time: datetime) -> tuple[Any, ...]:
    """A row of the quarantine: an event whose record came two hours ago."""
    value = {
        "event_id": str(UUID(int=offset)), "user_id": 1, "item_id": 2, "action": "like",
        "event_time": event_time.isoformat(),
    }  # fmt: skip
    return (7, 0, offset, "events", int((time.time() - 7_200) * 1000), b"1", json.dumps(value).encode())


class Quarantine:
    """ClickHouse with one page of it."""

    def __init__(self, rows: list[tuple[Any, ...]]) -> None:
        self.pages = [rows, []]
        self.noted: list[list[int]] = []

    def query(self, *_arguments: object, **_more: object) -> SimpleNamespace:
        return SimpleNamespace(result_rows=self.pages.pop(0))

    def insert(self, _table: str, rows: list[list[int]], **_more: object) -> None:
        self.noted += rows


class TinyProducer:
    """Refuses records of over 200 bytes, and has a queue of one."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[KafkaError | None, object], None]] = []
        self.values: list[bytes] = []

    def produce(self, _topic: str, *, value: bytes, on_delivery: Callable[[Any, object], None], **_more: Any) -> None:
        if len(value) > 200:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        if self.waiting:
            raise BufferError
        self.values.append(value)
        self.waiting.append(on_delivery)

    def poll(self, seconds: float) -> None:
        if seconds:
            self.flush(seconds)

    def flush(self, _seconds: float) -> int:
        while self.waiting:
            self.waiting.pop()(None, None)
        return 0


def test_a_record_that_cannot_be_produced_keeps_back_no_other() -> None:
    now = datetime.now(timezone.utc)
    rows = [quarantined(n, now - timedelta(days=1)) for n in range(4)]
    rows[1] = (*rows[1][:6], rows[1][6] + b" " * 200)
    store, producer = Quarantine(rows), TinyProducer()
    assert replay(store, producer, [STREAM]) == Replayed(produced=3, still_bad=0, refused=1)  # type: ignore[arg-type]
    assert sorted(store.noted) == [[7, 0, 0], [7, 0, 2], [7, 0, 3]]
    assert producer.values == [rows[n][6] for n in (0, 2, 3)], "byte for byte, so id and time are the original ones"


def test_an_event_that_was_ahead_of_its_record_is_produced_again_once_its_time_has_come() -> None:
    now = datetime.now(timezone.utc)
    rows = [quarantined(0, now - timedelta(hours=1)), quarantined(1, now + timedelta(hours=1))]
    store = Quarantine(rows)
    assert replay(store, TinyProducer(), [STREAM]) == Replayed(produced=1, still_bad=1, refused=0)  # type: ignore[arg-type]
    assert store.noted == [[7, 0, 0]]


def test_a_record_on_which_the_decoder_fails_keeps_back_no_other() -> None:
    def decode(record: Record, epoch: int) -> Row:
        if record.offset == 0:
            raise RecursionError
        return STREAM.decode(record, epoch)

    long_ago = datetime.now(timezone.utc) - timedelta(days=1)
    store = Quarantine([quarantined(0, long_ago), quarantined(1, long_ago)])
    stream = replace(STREAM, decode=decode)
    assert replay(store, TinyProducer(), [stream]) == Replayed(produced=1, still_bad=1, refused=0)  # type: ignore[arg-type]

"""`replay`: produces quarantined records again that decode now.

The bytes are the original ones, so `event_id` and `event_time` are too: a record that is replayed twice still counts
once. Records that do not decode even now stay where they are.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from services.consumer.decode import Stream, UndecodableError
from services.consumer.record import Record
from services.contracts.tables import QUARANTINE_REPLAYS, QUARANTINE_VIEW

log = logging.getLogger(__name__)
FLUSH_SECONDS = 30.0
PAGE = 1_000

Origin = tuple[int, int, int]
"""Epoch, partition, offset."""


@dataclass(frozen=True)
class Replayed:
    """Counts: produced again (in a dry run: would be), still not decodable, and refused by Kafka's client."""

    produced: int
    still_bad: int
    refused: int


def replay(
    client: Client, producer: Producer, streams: list[Stream], *, reason: str | None = None, dry_run: bool = False
) -> Replayed:
    """Produce again what decodes now and has not been replayed yet; note each once the broker has acknowledged it.

    Raises:
        KafkaException: the broker did not acknowledge some; what it did acknowledge is noted.
    """
    decoders = {stream.topic: stream for stream in streams}
    produced = still_bad = refused = 0
    for page in _pages(client, reason):
        good = [
            (origin, record)
            for origin, record in page
            if record.topic in decoders and _decodes(decoders[record.topic], record, origin[0])
        ]
        still_bad += len(page) - len(good)
        bad = 0 if dry_run else _produce(client, producer, good)
        produced += len(good) - bad
        refused += bad
    return Replayed(produced, still_bad, refused)


def _decodes(stream: Stream, record: Record, epoch: int) -> bool:
    """Whether it would decode if it arrived now; its times are checked against the present."""
    try:
        stream.decode(replace(record, time_ms=int(time.time() * 1000)), epoch)
    except Exception as error:  # a record on which the decoder itself fails must not block the others
        if not isinstance(error, UndecodableError):
            log.exception("the decoder failed on %s/%d/%d", record.topic, record.partition, record.offset)
        return False
    return True


def _pages(client: Client, reason: str | None) -> Iterator[list[tuple[Origin, Record]]]:
    """Yield quarantined records that were not replayed, in the order of their origin."""
    after: Origin | None = None
    while True:
        rows = client.query(
            f"SELECT epoch, partition, offset, topic, toUnixTimestamp64Milli(record_time), key, value "  # noqa: S608
            f"FROM {QUARANTINE_VIEW} WHERE NOT replayed"
            + (" AND reason = {reason:String}" if reason else "")
            + (" AND (epoch, partition, offset) > ({a:UInt64}, {b:UInt64}, {c:UInt64})" if after else "")
            + f" ORDER BY epoch, partition, offset LIMIT {PAGE}",
            parameters={"reason": reason, **(dict(zip("abc", after, strict=True)) if after else {})},
            column_formats={"key": "bytes", "value": "bytes"},
        ).result_rows
        if not rows:
            return
        page = [((r[0], r[1], r[2]), Record(r[3], r[1], r[2], r[4], r[5], r[6])) for r in rows]
        yield page
        after = page[-1][0]


def _produce(client: Client, producer: Producer, records: list[tuple[Origin, Record]]) -> int:
    """Return how many cannot be produced, for example because they are too large; they stay in quarantine."""
    unsendable = 0
    acknowledged: list[Origin] = []
    refused: list[KafkaError] = []
    for origin, record in records:

        def on_delivery(error: KafkaError | None, _message: Message, origin: Origin = origin) -> None:
            if error is None:
                acknowledged.append(origin)
            else:
                refused.append(error)

        try:
            _send(producer, origin, record, on_delivery)
        except KafkaException as error:
            unsendable += 1
            log.error("%s/%d/%d cannot be produced again: %s", record.topic, record.partition, record.offset, error)  # noqa: TRY400
    left = producer.flush(FLUSH_SECONDS)
    if acknowledged:
        client.insert(
            QUARANTINE_REPLAYS, [list(origin) for origin in acknowledged], column_names=["epoch", "partition", "offset"]
        )
    if refused:
        raise KafkaException(refused[0])
    if left:
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, f"{left} records were not acknowledged in time"))
    return unsendable


def _send(
    producer: Producer, origin: Origin, record: Record, on_delivery: Callable[[KafkaError | None, Message], None]
) -> None:
    deadline = time.monotonic() + FLUSH_SECONDS
    while True:
        try:
            producer.produce(
                record.topic,
                value=record.value,
                key=record.key or None,
                headers={"replayed-from": ":".join(map(str, origin))},
                on_delivery=on_delivery,
            )
            break
        except BufferError:  # a page of large records fills the client's queue
            if time.monotonic() > deadline:
                raise
            producer.poll(0.1)
    producer.poll(0)

"""`replay`: produce quarantined records again that the present decoder understands.

The bytes are the original ones, so `event_id` and `event_time` are too: a record that is replayed twice still counts
once. Records that do not decode even now stay where they are.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

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
    """Counts: produced again (in a dry run: would be), and still not decodable."""

    produced: int
    still_bad: int


def replay(
    client: Client, producer: Producer, streams: list[Stream], *, reason: str | None = None, dry_run: bool = False
) -> Replayed:
    """Produce again what decodes now and has not been replayed yet; note each once the broker has acknowledged it.

    Raises:
        KafkaException: the broker did not acknowledge some; what it did acknowledge is noted.
    """
    decoders = {stream.topic: stream for stream in streams}
    produced = still_bad = 0
    for page in _pages(client, reason):
        good = [
            (origin, record)
            for origin, record in page
            if record.topic in decoders and _decodes(decoders[record.topic], record, origin[0])
        ]
        still_bad += len(page) - len(good)
        if not dry_run:
            _produce(client, producer, good)
        produced += len(good)
    return Replayed(produced, still_bad)


def _decodes(stream: Stream, record: Record, epoch: int) -> bool:
    try:
        stream.decode(record, epoch)
    except UndecodableError:
        return False
    return True


def _pages(client: Client, reason: str | None) -> Iterator[list[tuple[Origin, Record]]]:
    """Yield what is in quarantine and not replayed, in the order of its origin."""
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


def _produce(client: Client, producer: Producer, records: list[tuple[Origin, Record]]) -> None:
    acknowledged: list[Origin] = []
    refused: list[KafkaError] = []
    for origin, record in records:

        def on_delivery(error: KafkaError | None, _message: Message, origin: Origin = origin) -> None:
            if error is None:
                acknowledged.append(origin)
            else:
                refused.append(error)

        producer.produce(
            record.topic,
            value=record.value,
            key=record.key or None,
            headers={"replayed-from": ":".join(map(str, origin))},
            on_delivery=on_delivery,
        )
        producer.poll(0)
    left = producer.flush(FLUSH_SECONDS)
    if acknowledged:
        client.insert(
            QUARANTINE_REPLAYS, [list(origin) for origin in acknowledged], column_names=["epoch", "partition", "offset"]
        )
    if refused:
        raise KafkaException(refused[0])
    if left:
        raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT, f"{left} records were not acknowledged in time"))

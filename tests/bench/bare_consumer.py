"""The loop that the consumer is measured against: poll, decode, insert, auto-commit. It loses and doubles events.

`python -m tests.bench.bare_consumer` reads the same environment as the consumer and runs until SIGTERM.
"""

import signal
import threading
from collections.abc import Callable

from confluent_kafka import Consumer, Message

from services.consumer.decode import Row
from services.consumer.record import Record, record_of
from services.consumer.service import connect
from services.consumer.settings import ConsumerSettings

POLL_SECONDS = 0.05


def main() -> None:
    """Consume the events topic with the consumer's decoder and block size, and none of its guarantees."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    settings = ConsumerSettings.from_environment()
    stream = settings.streams[0]
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap_servers,
            "group.id": f"{settings.consumer_group}-bare",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": True,
        }
    )
    client = connect(settings)
    types = client.create_insert_context(stream.table, column_names=stream.columns).column_types
    consumer.subscribe([stream.topic])
    while not stopping.is_set():
        rows = _decode(consumer.consume(settings.consumer_block_rows, POLL_SECONDS), stream.decode)
        if rows:
            client.insert(
                stream.table,
                list(zip(*rows, strict=True)),
                column_names=stream.columns,
                column_types=types,
                column_oriented=True,
            )
    consumer.close()


def _decode(messages: list[Message], decode: Callable[[Record, int], Row]) -> list[Row]:
    return [decode(record_of(message), 1) for message in messages if message.error() is None]


if __name__ == "__main__":
    main()

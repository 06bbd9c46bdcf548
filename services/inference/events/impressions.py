"""Sends served lists to the topic `impressions` without delaying the response; drops records when Kafka is slow."""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, Producer

from services.common.kafka import client_config
from services.contracts.impressions import Impression
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)


class ImpressionPublisher:
    """Has its own producer, so that impressions never use the queue space of events. Thread-safe."""

    def __init__(self, bootstrap_servers: str, topic: str, metrics: Metrics, *, queue_lists: int = 20_000) -> None:
        self._topic = topic
        self._metrics = metrics
        self._config: dict[str, Any] = client_config(bootstrap_servers, "movierecs-impressions") | {
            "enable.idempotence": True,
            "acks": "all",
            "log_level": 2,  # the events' producer logs lost connections
            "error_cb": lambda _error: None,
            "linger.ms": 50,
            "compression.type": "lz4",
            "queue.buffering.max.messages": queue_lists,
            "message.timeout.ms": 60_000,
        }
        self._producer: Producer | None = None

    def start(self) -> None:
        """Start the producer; returns at once."""
        self._producer = Producer(self._config)

    def stop(self, timeout_seconds: float = 2.0) -> None:
        """Send what is queued, within the time given."""
        if self._producer is not None:
            self._metrics.impressions_dropped.inc(self._producer.flush(timeout_seconds))

    def publish(self, impression: Impression, headers: Mapping[str, str]) -> None:
        """Queue one list; never blocks, counts what could not be queued or delivered."""
        if self._producer is None:
            return
        try:
            self._producer.produce(
                self._topic,
                key=str(impression.user_id).encode(),
                value=impression.model_dump_json().encode(),
                headers=list(headers.items()),
                on_delivery=self._delivered,
            )
        except BufferError:
            self._metrics.impressions_dropped.inc()
        self._producer.poll(0)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._metrics.impressions_dropped.inc()
            log.warning("an impression was not delivered: %s", error.str())

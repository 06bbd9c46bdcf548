"""Publishes feedback events to Kafka and reports for each whether the broker acknowledged it."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from services.common.kafka import client_config
from services.contracts.events import Event, EventIn
from services.inference.events.clock import EventClock, complete
from services.inference.history.live import LiveHistory
from services.inference.metrics import Metrics

log = logging.getLogger(__name__)

QUEUE_EVENTS = 100_000
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Published:
    """An event handed to the producer and its offset; ``offset`` None: not acknowledged."""

    event: Event
    partition: int | None = None
    offset: int | None = None


class QueueFullError(Exception):
    """The producer's queue is full: Kafka is slower than its clients. Nothing was sent."""


class _Request:
    """The deliveries that one request waits for; only the producer's poll thread writes to it."""

    def __init__(self, events: Sequence[Event], loop: asyncio.AbstractEventLoop) -> None:
        self.results = [Published(event) for event in events]
        self.done: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._outstanding = len(events)

    def delivered(self, index: int, error: KafkaError | None, message: Message | None) -> None:
        """Note one delivery report; after the last one wake the request."""
        if error is None and message is not None:
            self.results[index] = Published(self.results[index].event, message.partition(), message.offset())
        elif error is not None:
            log.warning("Kafka did not take an event: %s", error.str())
        self._outstanding -= 1
        if self._outstanding == 0 and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class EventPublisher:
    """One idempotent producer. `publish` runs on the event loop's thread, so a viewer's events keep their order."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        metrics: Metrics,
        *,
        live: LiveHistory,
        timeout_seconds: float,
        now: Callable[[], datetime],
        queue_events: int = QUEUE_EVENTS,
    ) -> None:
        self._topic = topic
        self._metrics = metrics
        self._live = live
        self._timeout = timeout_seconds
        self._now = now
        self._clock = EventClock()
        self._queue_events = queue_events
        self._config: dict[str, Any] = client_config(bootstrap_servers, "movierecs-inference") | {
            "enable.idempotence": True,
            "acks": "all",
            "log_level": 2,  # librdkafka also reports lost connections to `error_cb`
            "linger.ms": 1,
            "compression.type": "lz4",
            "queue.buffering.max.messages": queue_events,
            # Expires a little after the request was answered that the outcome is unknown.
            "message.timeout.ms": int(timeout_seconds * 1000) + 1_000,
            "error_cb": self._on_error,
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="event-publisher", daemon=True)
        self._producer: Producer | None = None
        self._fatal = False
        self._last_error: int | None = None

    def start(self) -> None:
        """Start the producer; returns at once, it connects in the background."""
        self._producer = Producer(self._config)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Wait, within the time given, until everything queued is delivered; then stop."""
        if self._producer is None:
            return
        left = self._producer.flush(timeout_seconds)
        if left:
            log.error("undelivered events at shutdown; their clients were told", extra={"events": left})
        self._stopping.set()
        self._thread.join(timeout_seconds)

    async def publish(self, events: Sequence[EventIn], headers: dict[str, str]) -> list[Published]:
        """Complete and send the events; return them in order once all are acknowledged or time is up.

        Raises:
            QueueFullError: nothing was sent.
        """
        producer = self._ready_producer()
        if len(producer) + len(events) > self._queue_events:
            self._metrics.events_produced.labels("refused").inc(len(events))
            raise QueueFullError(f"{len(producer)} events wait for Kafka")
        now = self._now()
        stamped = [complete(event, self._clock, self._live, now) for event in events]
        request = _Request(stamped, asyncio.get_running_loop())
        start = time.perf_counter()
        for index, event in enumerate(stamped):
            self._produce(producer, event, headers, partial(request.delivered, index))
        try:
            await asyncio.wait_for(asyncio.shield(request.done), self._timeout)
        except TimeoutError:
            log.warning("Kafka did not acknowledge in time", extra={"events": len(stamped)})
        results = list(request.results)
        acknowledged = sum(result.offset is not None for result in results)
        self._metrics.publish_seconds.observe(time.perf_counter() - start)
        self._metrics.events_produced.labels("acknowledged").inc(acknowledged)
        self._metrics.events_produced.labels("unconfirmed").inc(len(results) - acknowledged)
        return results

    def _produce(
        self, producer: Producer, event: Event, headers: dict[str, str], report: Callable[[Any, Any], None]
    ) -> None:
        try:
            producer.produce(
                self._topic,
                key=str(event.user_id).encode(),
                value=event.model_dump_json().encode(),
                headers=list(headers.items()),
                on_delivery=report,
            )
        except BufferError:
            # The check above counts events, but bytes filled the queue: reported as unconfirmed.
            report(KafkaError(KafkaError._QUEUE_FULL), None)

    def _ready_producer(self) -> Producer:
        assert self._producer is not None, "call start before publish"
        if self._fatal:
            # After a fatal error an idempotent producer sends nothing any more; replace it.
            log.error("the producer is replaced after a fatal error")
            self._producer, self._fatal = Producer(self._config), False
        return self._producer

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal() or error.code() == KafkaError._FATAL:
            self._fatal = True
        if error.code() != self._last_error:
            log.warning("Kafka producer: %s", error.str(), extra={"fatal": self._fatal})
        self._last_error = error.code()

    def _poll(self) -> None:
        while not self._stopping.is_set():
            assert self._producer is not None
            self._producer.poll(_POLL_SECONDS)

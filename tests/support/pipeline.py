"""Kafka → consumer → ClickHouse under test: own topics, own group, own database, the real process."""

import os
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from pydantic import SecretStr

from services.common import clickhouse as clickhouse_edge
from services.common import kafka as kafka_edge
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from tests.support.processes import ServiceProcess

START = datetime(2026, 11, 1, tzinfo=timezone.utc)


def event(
    number: int, *, user: int = 0, item: int = 0, action: Action = Action.LIKE, value: float | None = None
) -> Event:
    """Return the ``number``-th event: the same arguments make the same event, id and time included."""
    return Event(
        event_id=uuid.UUID(int=(7 << 96) | number),
        user_id=UserId(user or 1 + number % 50),
        item_id=ItemId(item or 1 + number % 97),
        action=action,
        value=value,
        event_time=START + timedelta(milliseconds=number),
        source="test",
    )


@dataclass
class Pipeline:
    """One consumer group between a broker and a migrated database. `env` is what the consumer process gets."""

    bootstrap: str
    clickhouse_url: str
    folder: Path
    partitions: int = 4
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = uuid.uuid4().hex[:10]
        self.events_topic = f"events-{self.name}"
        self.impressions_topic = f"impressions-{self.name}"
        self.group = f"group-{self.name}"
        migrate_clickhouse(self.connect(), read_migrations(CLICKHOUSE_MIGRATIONS))
        self.producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})
        self.admin = kafka_edge.admin(self.bootstrap)

    def env(self, **changes: str) -> dict[str, str]:
        """Return the environment of a consumer of this pipeline."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "CLICKHOUSE_URL": self.clickhouse_url,
            "CONSUMER_GROUP": self.group,
            "EVENTS_TOPIC": self.events_topic,
            "IMPRESSIONS_TOPIC": self.impressions_topic,
            "EVENTS_PARTITIONS": str(self.partitions),
            "CONSUMER_METRICS_PORT": "0",
            **self.settings,
            **changes,
        }

    def connect(self) -> Client:
        """Return a ClickHouse client of the caller's own."""
        return clickhouse_edge.connect(SecretStr(self.clickhouse_url))

    def make_topics(self) -> None:
        """Make the topics, as the consumer would."""
        specs = [
            kafka_edge.TopicSpec(self.events_topic, self.partitions, kafka_edge.DAY_MS),
            kafka_edge.TopicSpec(self.impressions_topic, 2, kafka_edge.DAY_MS),
        ]
        kafka_edge.ensure_topics(self.admin, specs)

    def consumer(self, name: str = "consumer", **changes: str) -> ServiceProcess:
        """Return a consumer process, not started; its log is ``<name>.log`` in the folder."""
        return self.command("run", name=name, **changes)

    def command(self, *argv: str, name: str = "command", **changes: str) -> ServiceProcess:
        """Return ``python -m services.consumer <argv>``, not started."""
        return ServiceProcess(
            name,
            [sys.executable, "-m", "services.consumer", *argv],
            self.folder / f"{name}.log",
            env={**os.environ, **self.env(**changes)},
        )

    def produce(self, events: Iterable[Event], topic: str = "") -> None:
        """Send events and return once the broker has acknowledged all of them."""
        self.produce_raw(((str(e.user_id).encode(), e.model_dump_json().encode()) for e in events), topic)

    def produce_raw(self, records: Iterable[tuple[bytes, bytes]], topic: str = "", partition: int = -1) -> None:
        """Send (key, value) records and return once the broker has acknowledged all of them."""
        refused: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error)

        for key, value in records:
            self.producer.produce(
                topic or self.events_topic, key=key, value=value, partition=partition, on_delivery=on_delivery
            )
            self.producer.poll(0)
        assert self.producer.flush(60) == 0, "the broker did not acknowledge in time"
        if refused:
            raise KafkaException(refused[0])

    def committed(self) -> dict[int, int]:
        """Return what the group has committed of the events topic's present incarnation."""
        topic = kafka_edge.describe_topic(self.admin, self.events_topic)
        found = kafka_edge.committed_offsets(kafka_edge.admin(self.bootstrap), self.group, topic)
        return {p: c.offset for p, c in found.items() if c.is_for(topic)}

    def count(self, table: str, where: str = "1") -> int:
        """Return how many rows a table or view has; FINAL is the caller's business."""
        return int(self.rows(f"SELECT count() FROM {table} WHERE {where}")[0][0])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        client = self.connect()
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

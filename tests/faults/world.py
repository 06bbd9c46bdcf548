"""One stream under test: topics and a database of its own, real consumers, a producer that tells the oracle."""

import random
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from uuid import UUID

from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from pydantic import SecretStr

from services.common import clickhouse as clickhouse_client
from services.common import kafka as kafka_admin
from services.common.audit import audit, first_offsets
from services.common.kafka import TopicIdentity, TopicSpec
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.events import Action, Event
from services.contracts.tables import EVENTS, SIGNALS
from tests.faults.oracle import EventKey, Fact, Oracle, differences, stored_events, stored_quarantine, stored_signals
from tests.support.processes import ServiceProcess, wait_until
from tests.support.services import ClickHouseServer, KafkaServer

DAY_MS = 24 * 3_600_000
PARTITIONS = 4


class World:
    """A stream from the broker to the views. Everything random comes from ``rng``, whose seed was printed."""

    def __init__(self, folder: Path, kafka: KafkaServer, clickhouse: ClickHouseServer, rng: random.Random) -> None:
        self.folder = folder
        self.kafka = kafka
        self.clickhouse = clickhouse
        self.rng = rng
        self.oracle = Oracle()
        self.database = clickhouse.create_database()
        self.topic = f"events-{self.database}"
        self.impressions_topic = f"impressions-{self.database}"
        self.group = f"group-{self.database}"
        self.consumers: list[ServiceProcess] = []
        self._producer: Producer | None = None
        self._times: dict[int, datetime] = {}
        with self.client() as client:
            migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
        self.create_topic()

    # -- the parts --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The database's URL, past any proxy."""
        return self.clickhouse.url(self.database)

    def client(self) -> Client:
        """A ClickHouse client of the caller's own."""
        return clickhouse_client.connect(SecretStr(self.url))

    def create_topic(self, retention_ms: int = DAY_MS) -> None:
        """Make both topics (again, after `delete_topic`)."""
        specs = [TopicSpec(name, PARTITIONS, retention_ms) for name in (self.topic, self.impressions_topic)]
        for name in kafka_admin.ensure_topics(kafka_admin.admin(self.kafka.bootstrap), specs):
            self.kafka.wait_for_topic(name)

    def identity(self, topic: str = "") -> TopicIdentity:
        """The topic (of events, unless named) as it is now."""
        return kafka_admin.describe_topic(kafka_admin.admin(self.kafka.bootstrap), topic or self.topic)

    def recreate_topic(self) -> None:
        """Delete the topic of events and make it again under the same name; what it held is gone from Kafka."""
        admin, old = kafka_admin.admin(self.kafka.bootstrap), self.identity().topic_id
        admin.delete_topics([self.topic])[self.topic].result(20)

        def recreated() -> bool:
            try:
                self.create_topic()
                return self.identity().topic_id != old
            except KafkaException:  # the deletion is not everywhere yet
                return False

        wait_until(recreated, 30, "the topic is recreated", 0.2)
        self._producer = None  # a producer keeps its sequence numbers of the old one

    def delete_records(self, partition: int, before: int) -> None:
        """Delete the records of a partition below ``before``, as retention does."""
        place = TopicPartition(self.topic, partition, before)
        admin = kafka_admin.admin(self.kafka.bootstrap)  # must outlive the answer
        admin.delete_records([place])[place].result(20)

    def consumer(
        self,
        *arguments: str,
        url: str = "",
        name: str = "",
        module: str = "services.consumer",
        **settings: str | float,
    ) -> ServiceProcess:
        """A started consumer process; ``settings`` are its environment variables in lower case.

        Audits run once a second, and blocks are small, unless ``settings`` say otherwise. ``module`` starts a
        changed one.
        """
        defaults: dict[str, str | float] = {
            "kafka_bootstrap_servers": self.kafka.bootstrap,
            "clickhouse_url": url or self.url,
            "consumer_group": self.group,
            "events_topic": self.topic,
            "impressions_topic": self.impressions_topic,
            "consumer_metrics_port": 0,
            "consumer_block_rows": 200,
            "consumer_block_seconds": 0.1,
            "consumer_audit_seconds": 1,
            "consumer_audit_full_seconds": 1,
        }
        name = name or f"consumer-{len(self.consumers)}"
        process = ServiceProcess(
            name,
            [sys.executable, "-m", module, *arguments],
            self.folder / f"{name}.log",
            env={key.upper(): str(value) for key, value in (defaults | settings).items()},
        )
        self.consumers.append(process)
        return process.start()

    def close(self) -> None:
        """Leave no process and no database behind."""
        for process in self.consumers:
            process.close()
        if self.clickhouse.process.is_running:
            self.clickhouse.drop_database(self.database)

    def rewind(self, offset: int = 0, topic_name: str = "") -> None:
        """Set the group back, as an operator would; its consumers must have left."""
        topic = self.identity(topic_name)
        places = [TopicPartition(topic.name, p, offset) for p in topic.partitions]
        admin = kafka_admin.admin(self.kafka.bootstrap)
        future = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(self.group, places)])[self.group]
        errors = [place.error for place in future.result(20).topic_partitions if place.error is not None]
        assert not errors, errors

    def notice_kills_within(self, seconds: int) -> None:
        """Shorten the group's session timeout, for tests that kill consumers and have no other reason to wait."""
        admin = kafka_admin.admin(self.kafka.bootstrap)
        entry = ConfigEntry(
            "consumer.session.timeout.ms", str(seconds * 1000), incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ResourceType.GROUP, self.group, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)

    def stop_merges(self) -> None:
        """Keep every row that is written, so that what was written twice can be counted."""
        for table in (EVENTS, SIGNALS):
            self.clickhouse.execute(f"SYSTEM STOP MERGES {self.database}.{table}")

    # -- producing --------------------------------------------------------------------------------------------------

    def random_event(self, viewers: int = 50, films: int = 30, rng: random.Random | None = None) -> Event:
        """An event of a few viewers and films, so that signals collide; times rise per viewer, as our producer's."""
        rng = rng or self.rng
        user, action = rng.randint(1, viewers), rng.choice(list(Action))
        now = datetime.now(timezone.utc)
        time_of_event = max(now, self._times.get(user, now) + timedelta(microseconds=1))
        self._times[user] = time_of_event
        return Event.model_validate(
            {
                "event_id": UUID(int=rng.getrandbits(128), version=4),
                "user_id": user,
                "item_id": rng.randint(1, films),
                "action": action,
                "value": rng.randint(1, 10) / 2 if action is Action.RATE else None,
                "event_time": time_of_event,
                "source": "fault-test",
            }
        )

    def produce(self, count: int, make: Callable[[], Event] | None = None) -> list[Event]:
        """Produce events and wait for every acknowledgement; only acknowledged ones reach the oracle."""
        events = [(make or self.random_event)() for _ in range(count)]
        self.send(events)
        return events

    def send(self, events: list[Event]) -> None:
        """Produce exactly these; returns when each was acknowledged or refused."""
        for event in events:
            self.send_soon(event)
        self.flush()

    def send_soon(self, event: Event) -> None:
        """Hand one event to the producer; `flush` waits for it."""
        self._send(str(event.user_id), event.model_dump_json().encode(), partial(self.oracle.saw, event))

    def send_bad(self, values: list[bytes], key: str = "poison") -> None:
        """Produce records that are not events."""
        for value in values:
            self.send_soon_bad(value, key)
        self.flush()

    def send_soon_bad(self, value: bytes, key: str) -> None:
        """Hand one record that is no event to the producer; `flush` waits for it."""
        self._send(key, value, partial(self.oracle.saw_bad, value))

    def flush(self) -> None:
        """Wait for what was sent."""
        assert self.producer.flush(120) == 0, "the broker did not answer in two minutes"

    @property
    def producer(self) -> Producer:
        """An idempotent producer, as the inference service's."""
        if self._producer is None:
            config = kafka_admin.client_config(self.kafka.bootstrap, "fault-test")
            self._producer = Producer({**config, "enable.idempotence": True, "acks": "all", "linger.ms": 5})
        return self._producer

    def _send(self, key: str, value: bytes, acknowledged: Callable[[], None]) -> None:
        def report(error: KafkaError | None, _message: Message) -> None:
            if error is None:
                acknowledged()

        while True:
            try:
                self.producer.produce(self.topic, value, key=key.encode(), on_delivery=report)
                break
            except BufferError:
                self.producer.poll(0.1)
        self.producer.poll(0)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def committed(self, topic_name: str = "") -> dict[int, int]:
        """Per partition the group's committed offset in the topic as it is now."""
        admin = kafka_admin.admin(self.kafka.bootstrap)
        topic = self.identity(topic_name)
        return {
            p: c.offset for p, c in kafka_admin.committed_offsets(admin, self.group, topic).items() if c.is_for(topic)
        }

    def lag(self, topic_name: str = "") -> int:
        """Records that are not committed yet."""
        admin = kafka_admin.admin(self.kafka.bootstrap)
        topic, committed = self.identity(topic_name), self.committed(topic_name)
        begin = kafka_admin.begin_offsets(admin, topic)
        return sum(end - committed.get(p, begin[p]) for p, end in kafka_admin.end_offsets(admin, topic).items())

    def wait_drained(self, deadline_seconds: float = 60) -> float:
        """Wait until everything produced is committed; returns the seconds."""
        try:
            return wait_until(lambda: self.lag() == 0, deadline_seconds, "everything committed", 0.2)
        except AssertionError as error:
            logs = "\n".join(process.log_tail(15) for process in self.consumers[-3:])
            raise AssertionError(f"{error}\n{logs}") from None

    def missing(self, topic_name: str = "") -> int:
        """What a full audit of the topic (of events, unless named) finds missing."""
        topic = self.identity(topic_name)
        with self.client() as client:
            findings = audit(client, topic.epoch, self.committed(topic_name), first_offsets(client, topic))
        return sum(finding.missing for finding in findings)

    def assert_equal(self) -> None:
        """The views show what the oracle saw, each event once; the quarantine holds what is bad, each once."""
        with self.client() as client:
            problem = differences(self.oracle.expected_events(), stored_events(client))
            assert not problem, problem
            assert stored_signals(client) == self.oracle.expected_signals(), "signals differ from the oracle's"
            quarantined = stored_quarantine(client)
        assert set(quarantined) == self.oracle.bad, "the quarantine differs from the oracle's"
        assert self.missing() == 0

    def redelivered(self) -> int:
        """How many rows were written more than once so far: seen only until merges remove them."""
        with self.client() as client:
            return int(client.command("SELECT count() - uniqExact(epoch, partition, offset) FROM events"))  # type: ignore[arg-type]

    def count(self, table: str) -> int:
        """Rows of a table or view."""
        with self.client() as client:
            return int(client.command(f"SELECT count() FROM {table}"))  # type: ignore[arg-type]

    def watch_views(self) -> None:
        """Fail when the views show an event twice right now."""
        self.shown_events()

    def shown_events(self) -> dict[EventKey, Fact]:
        """What `events_v` shows now; AssertionError when it shows an event twice."""
        with self.client() as client:
            return stored_events(client)

    def pause(self, low: float, high: float) -> float:
        """A random pause before the next blow; returns its seconds."""
        seconds = self.rng.uniform(low, high)
        time.sleep(seconds)
        return seconds

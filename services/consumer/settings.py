"""The consumer's settings."""

from pydantic import Field

from services.common.kafka import TopicSpec
from services.common.settings import ClickHouseSettings, KafkaSettings, LogSettings, MetricsSettings
from services.consumer.batch import Limits
from services.consumer.breaker import BreakerLimits
from services.consumer.decode import Stream, events_stream, impressions_stream
from services.contracts.topics import CONSUMER_GROUP, EVENTS_TOPIC, IMPRESSIONS_TOPIC

HOUR_MS = 3_600_000


class ConsumerSettings(KafkaSettings, ClickHouseSettings, MetricsSettings, LogSettings):
    """Environment variables of ``python -m services.consumer``."""

    consumer_group: str = Field(default=CONSUMER_GROUP, description="The consumer group.")
    consumer_group_protocol: str = Field(
        default="consumer",
        pattern="^(consumer|classic)$",
        description="consumer: KIP-848, Kafka 4; classic: older brokers and the in-memory one.",
    )
    events_topic: str = Field(default=EVENTS_TOPIC, description="The topic of feedback events.")
    impressions_topic: str = Field(default=IMPRESSIONS_TOPIC, description="The topic of served lists.")
    events_partitions: int = Field(default=4, ge=1, description="Partitions of the events topic when it is created.")
    impressions_partitions: int = Field(default=2, ge=1, description="The same for impressions.")
    topic_retention_hours: int = Field(default=168, ge=1, description="Retention of the topics when they are created.")
    topic_replication: int = Field(
        default=1, ge=1, description="Replication factor of the topics when they are created."
    )

    consumer_metrics_port: int = Field(default=9101, ge=0, le=65535, description="/metrics and /health; 0: off.")
    consumer_block_rows: int = Field(default=10_000, ge=1, description="A block is sealed at this many records…")
    consumer_block_bytes: int = Field(default=32 * 2**20, ge=1, description="…or this much memory…")
    consumer_block_seconds: float = Field(default=0.3, gt=0, description="…or this long after its first record.")
    consumer_held_rows: int = Field(
        default=40_000, ge=1, description="All blocks are sealed when together they hold this many records."
    )
    consumer_insert_timeout_seconds: int = Field(default=60, ge=1, description="Time-out of an insert.")
    consumer_revoke_seconds: float = Field(
        default=5, ge=0, description="Time limit for storing a revoked partition's records."
    )
    consumer_stop_seconds: float = Field(
        default=6, ge=0, description="Time limit for storing after SIGTERM; what is left is redelivered."
    )
    consumer_breaker_window: int = Field(default=1_000, ge=1, description="The breaker's window, in records.")
    consumer_breaker_at_least: int = Field(
        default=200, ge=1, description="Records that the window needs before the ratio counts."
    )
    consumer_breaker_ratio: float = Field(
        default=0.2, ge=0, description="Share of bad records at which the breaker stops the consumer; 1: never."
    )
    consumer_breaker_consecutive: int = Field(
        default=100, ge=0, description="Bad records in a row at which the breaker stops the consumer; 0: never."
    )
    consumer_audit_seconds: float = Field(default=30, gt=0, description="Interval between audits of new records.")
    consumer_audit_full_seconds: float = Field(
        default=60, gt=0, description="Interval between full audits, which never take more than 5 % of the time."
    )
    consumer_erasure_refresh_seconds: float = Field(
        default=5, ge=0, description="Maximum age of the list of erased viewers."
    )

    @property
    def limits(self) -> Limits:
        """When a block is sealed."""
        return Limits(self.consumer_block_rows, self.consumer_block_bytes, self.consumer_block_seconds)

    @property
    def breaker_limits(self) -> BreakerLimits:
        """When the quarantine's breaker opens."""
        return BreakerLimits(
            self.consumer_breaker_window,
            self.consumer_breaker_at_least,
            self.consumer_breaker_ratio,
            self.consumer_breaker_consecutive,
        )

    @property
    def streams(self) -> list[Stream]:
        """What is consumed."""
        return [events_stream(self.events_topic), impressions_stream(self.impressions_topic)]

    @property
    def topics(self) -> list[TopicSpec]:
        """How the topics are made."""
        retention = self.topic_retention_hours * HOUR_MS
        return [
            TopicSpec(self.events_topic, self.events_partitions, retention, self.topic_replication),
            TopicSpec(self.impressions_topic, self.impressions_partitions, retention, self.topic_replication),
        ]

"""The exporter's settings."""

from pydantic import Field

from services.common.settings import (
    ClickHouseSettings,
    KafkaSettings,
    LogSettings,
    MetricsSettings,
    PostgresSettings,
)
from services.contracts.topics import CONSUMER_GROUP, EVENTS_TOPIC, IMPRESSIONS_TOPIC


class ExporterSettings(KafkaSettings, ClickHouseSettings, PostgresSettings, MetricsSettings, LogSettings):
    """Environment variables of ``python -m services.exporter``."""

    consumer_group: str = Field(default=CONSUMER_GROUP, description="The group whose offsets say what is stored.")
    events_topic: str = Field(default=EVENTS_TOPIC, description="The topic of feedback events.")
    impressions_topic: str = Field(default=IMPRESSIONS_TOPIC, description="The topic of served lists.")
    exporter_port: int = Field(default=9102, ge=0, le=65535, description="/metrics and /health; 0: any free port.")
    exporter_interval_seconds: float = Field(
        default=15, gt=0, description="Interval for lag, audit, registry and the nightly run."
    )
    exporter_lists_seconds: float = Field(
        default=60, gt=0, description="Interval for the metrics of lists, which read a week of them."
    )

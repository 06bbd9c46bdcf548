"""How long Kafka keeps a record at most: its retention, plus the delay of deleting whole segments."""

from collections.abc import Sequence
from datetime import timedelta

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

CHECKED_EVERY = timedelta(minutes=5)
"""How often a broker looks for segments to delete (`log.retention.check.interval.ms`), by default."""


def longest_kept(client: AdminClient, topics: Sequence[str], *, timeout_seconds: float) -> dict[str, timedelta | None]:
    """Return for each topic how long after it was written a record may still be there; None: for ever.

    A segment is deleted as a whole, once its latest record is as old as `retention.ms`; and it takes records until it
    is as old as `segment.ms`. With producers' timestamps (CreateTime) a record's time may be ahead by as much as the
    topic allows.

    Raises:
        KafkaException: the broker does not answer in time, or there is no such topic.
    """
    resources = {topic: ConfigResource(ResourceType.TOPIC, topic) for topic in topics}
    answers = client.describe_configs(list(resources.values()), request_timeout=timeout_seconds)
    kept: dict[str, timedelta | None] = {}
    for topic, resource in resources.items():
        config = {name: entry.value for name, entry in answers[resource].result(timeout_seconds).items()}
        kept[topic] = longest(config)
    return kept


def longest(config: dict[str, str]) -> timedelta | None:
    """Return how long a record may be kept, from a topic's configuration as the broker reports it.

    >>> longest({"cleanup.policy": "delete", "retention.ms": "3600000", "segment.ms": "600000"})
    datetime.timedelta(seconds=4500)
    >>> longest({"cleanup.policy": "delete", "retention.ms": "-1"}), longest({"cleanup.policy": "compact"})
    (None, None)
    """
    retention = int(config.get("retention.ms") or -1)
    if retention < 0 or "delete" not in (config.get("cleanup.policy") or "delete"):
        return None
    stated = config.get("message.timestamp.type") == "CreateTime"
    ahead = int(config.get("message.timestamp.after.max.ms") or 0) if stated else 0
    parts = (retention, int(config.get("segment.ms") or 0), int(config.get("file.delete.delay.ms") or 0), ahead)
    try:
        return sum((timedelta(milliseconds=part) for part in parts), CHECKED_EVERY)
    except OverflowError:
        return None

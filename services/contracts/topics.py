"""Kafka topics, written once."""

EVENTS_TOPIC = "events"
"""Feedback events, keyed by user id, value = `services.contracts.events.Event` as JSON."""
IMPRESSIONS_TOPIC = "impressions"
"""Lists that were served, keyed by user id, value = `services.contracts.impressions.Impression` as JSON."""

CONSUMER_GROUP = "movierecs-consumer"
"""The group that writes both topics to ClickHouse."""

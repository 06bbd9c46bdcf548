"""The way out: events and impressions to Kafka."""

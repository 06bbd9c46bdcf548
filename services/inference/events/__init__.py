"""Producers: events and impressions to Kafka."""

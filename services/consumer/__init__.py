"""Kafka to ClickHouse, exactly once as seen through the views; `ingestion` has the order of steps that ensures it."""

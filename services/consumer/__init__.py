"""Kafka to ClickHouse, exactly once through the views: see `ingestion` for the order that makes it so."""

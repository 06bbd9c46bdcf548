"""Kafka to ClickHouse, exactly once through the views: see `loop` for the order that makes it so."""

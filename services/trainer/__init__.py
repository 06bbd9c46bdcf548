"""The trainer: reads signals from ClickHouse; writes model bundles and registers them."""

"""Viewers' feedback: the bundle's history, and events since then from the topic or from ClickHouse."""

"""What viewers said: what the bundle holds, and what came since, from the topic or from ClickHouse."""

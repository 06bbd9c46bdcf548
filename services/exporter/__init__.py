"""Metrics about the stream, the lists and the models, read from the stores, so they work while the consumer is down."""

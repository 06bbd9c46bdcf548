"""What the stores say about the stream, the lists and the models, also while the consumer is dead."""

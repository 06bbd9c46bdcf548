"""Extract, signals, training data, splits."""

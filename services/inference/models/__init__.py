"""The served models: kinds, loading, swapping."""

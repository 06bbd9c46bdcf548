"""Export and erasure of one viewer."""

"""Bundles: made, published, pruned, and freed of erased viewers."""

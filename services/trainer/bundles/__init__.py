"""Bundles: writing, publishing, pruning, and removing erased viewers."""

"""Edges that two or more services need."""

"""Offline evaluation, and the gate."""

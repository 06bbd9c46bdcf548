"""Clients of the stores, and what else two or more services share."""

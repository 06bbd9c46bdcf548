"""The client is tested against the page's stand-in for the service."""

from tests.unit.ui.conftest import service

__all__ = ["service"]

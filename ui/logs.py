"""The demo's own log lines, in the form of all services; Streamlit's stay as they are."""

import logging
import sys

from services.contracts.logs import JsonFormatter


def configure(level: str) -> None:
    """Send what this package logs to stdout as JSON lines. Called once, from `main`."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter("ui"))
    ours = logging.getLogger("ui")
    ours.handlers, ours.propagate = [handler], False
    ours.setLevel(level.upper())

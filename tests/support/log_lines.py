"""What a logger writes, as its process would write it."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from services.contracts.logs import JsonFormatter


@contextmanager
def logged(logger_name: str, service: str) -> Iterator[io.StringIO]:
    """Collect the JSON lines of a logger and of those below it, from level INFO on."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter(service))
    logger = logging.getLogger(logger_name)
    before = logger.level
    logger.setLevel(logging.INFO)  # an assignment would leave what the loggers below have cached
    logger.addHandler(handler)
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)

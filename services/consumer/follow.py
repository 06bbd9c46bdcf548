"""One like can be followed to its row: a span and a log line for records of a trace that somebody wants to see."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from services.common import tracing
from services.consumer.batch import Block
from services.contracts.logs import log_context

log = logging.getLogger(__name__)

FOLLOWED = 10
"""Records of one block; a load test whose every request is sampled must not write a line per event."""


@contextmanager
def followed(block: Block) -> Iterator[None]:
    """Make what stores the block a span of its first sampled record's trace, linked to the others; then log them."""
    records = [*block.records, *(bad.record for bad in block.rejected)]
    sampled = list(islice(((r, r.origin) for r in records if r.origin is not None), FOLLOWED))
    if not sampled:
        yield
        return
    parent, *others = (origin.trace for _, origin in sampled)
    with tracing.span("store", parent, kind="consumer", links=others):
        yield
    for record, origin in sampled:
        with log_context(trace_id=origin.trace.trace_id, request_id=origin.request_id):
            log.info(
                "stored",
                extra={"topic": record.topic, "partition": record.partition, "offset": record.offset},
            )

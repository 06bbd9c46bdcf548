"""Tracing of single records to their rows: a span and a log line for records of sampled traces."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from opentelemetry.trace import SpanKind

from services.common import tracing
from services.consumer.record import Record
from services.contracts.logs import REQUEST_ID, TRACE_ID, log_context

log = logging.getLogger(__name__)

FOLLOWED = 10
"""The limit per block, so that a load test that samples every request does not write a line per event."""


def ids_of(record: Record) -> dict[str, str]:
    """Return the log fields that link a line to the record's trace; none if it is not sampled."""
    origin = record.origin
    return {} if origin is None else {TRACE_ID: tracing.trace_id(origin.trace), REQUEST_ID: origin.request_id}


@contextmanager
def followed(records: Sequence[Record]) -> Iterator[None]:
    """Wrap storing the records in a span of the first sampled record's trace, linked to the others; then log it."""
    sampled = list(islice(((r, r.origin) for r in records if r.origin is not None), FOLLOWED))
    if not sampled:
        yield
        return
    parent, *others = (origin.trace for _, origin in sampled)
    with tracing.span("store", parent, kind=SpanKind.CONSUMER, links=others):
        yield
    for record, _ in sampled:
        with log_context(**ids_of(record)):
            log.info("stored", extra={"topic": record.topic, "partition": record.partition, "offset": record.offset})

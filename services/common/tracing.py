"""Traces by OpenTelemetry: its own propagator, and its no-op tracer until OTEL_EXPORTER_OTLP_ENDPOINT is set.

Spans are then sent by OTLP over HTTP; the standard OTEL_* variables apply (sampler, headers, timeouts). Spans are made
explicitly: they are few, and instrumentation libraries would add cost to every request even while traces are off. For
the same reason a span's context is passed as a value, and never made the current one of its thread.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.contracts.trace import TRACEPARENT

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROPAGATOR = TraceContextTextMapPropagator()
_ROOT = Context()
_LONGEST = 128
"""Characters of a `TRACEPARENT` (55 in the present version): the propagator logs a warning per longer one."""
_tracer = trace.get_tracer("movierecs")
"""Does nothing until `configure_tracing` has set a provider."""


def configure_tracing(service: str) -> None:
    """Begin to send spans as `service`, if an endpoint is set. Called once, from `main`."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    # Not imported while traces are off: the SDK takes a third of a second and 20 MB.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def extract(traceparent: str) -> SpanContext:
    """Return the span context that a `TRACEPARENT` names; an invalid one (``is_valid``) if it is empty or malformed.

    >>> extract("00-" + "a" * 32 + "-" + "b" * 16 + "-01").trace_flags.sampled
    True
    >>> extract("spoofed\\nline").is_valid
    False
    """
    if not traceparent or len(traceparent) > _LONGEST:
        return INVALID_SPAN_CONTEXT
    return trace.get_current_span(_PROPAGATOR.extract({TRACEPARENT: traceparent}, _ROOT)).get_span_context()


def inject(context: SpanContext) -> dict[str, str]:
    """Return the headers that carry the span context on; none if it is invalid."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, _below(context))
    return headers


def trace_id(context: SpanContext) -> str:
    """Return the trace's id as logs show it: 32 lower-case hexadecimal digits."""
    return trace.format_trace_id(context.trace_id)


@contextmanager
def span(
    name: str,
    parent: SpanContext = INVALID_SPAN_CONTEXT,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    links: Sequence[SpanContext] = (),
) -> Iterator[SpanContext]:
    """Make the block a span below `parent`, or the root of a new trace; yields its context, to be passed on.

    While traces are off that is the parent's own context.
    """
    made = _tracer.start_span(name, _below(parent), kind, links=[Link(link) for link in links])
    with made:
        yield made.get_span_context()


def _below(parent: SpanContext) -> Context:
    return trace.set_span_in_context(NonRecordingSpan(parent), _ROOT) if parent.is_valid else _ROOT

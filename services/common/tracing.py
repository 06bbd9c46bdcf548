"""OpenTelemetry spans, sent by OTLP over HTTP when OTEL_EXPORTER_OTLP_ENDPOINT is set; otherwise ids alone.

The standard OTEL_* variables apply (sampler, headers, timeouts). Written with the SDK by hand: the spans are few, and
instrumentation libraries would cost every request something also while traces are off.
"""
# ruff: noqa: PLC0415 - nothing of OpenTelemetry is imported here while traces are off

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

from services.contracts.trace import TraceContext

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Kind = Literal["internal", "server", "producer", "consumer"]
_tracer: "Tracer | None" = None


def configure_tracing(service: str) -> None:
    """Begin to send spans as `service`, if an endpoint is set. Called once, from `main`."""
    global _tracer  # noqa: PLW0603 - one tracer per process, as one log
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("movierecs")


def span(
    name: str,
    parent: TraceContext | None = None,
    *,
    kind: Kind = "internal",
    links: Sequence[TraceContext] = (),
) -> AbstractContextManager[TraceContext]:
    """Make the block a span below `parent`, or the first of a trace; yields its context, to be passed on.

    Without traces `parent` is passed on as it is, and a new trace is not sampled. Whether a request is sampled is
    decided where it arrives; what happens inside follows.
    """
    if _tracer is None or (parent is not None and not parent.sampled and kind != "server"):
        return nullcontext(parent or TraceContext.new(sampled=False))
    return _recorded(_tracer, name, parent, kind, links)


@contextmanager
def _recorded(
    tracer: "Tracer", name: str, parent: TraceContext | None, kind: Kind, links: Sequence[TraceContext]
) -> Iterator[TraceContext]:
    from opentelemetry import trace
    from opentelemetry.context import Context

    above = trace.set_span_in_context(trace.NonRecordingSpan(_remote(parent))) if parent else Context()
    with tracer.start_as_current_span(
        name, above, kind=trace.SpanKind[kind.upper()], links=[trace.Link(_remote(link)) for link in links]
    ) as made:
        ids = made.get_span_context()
        yield TraceContext(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", ids.trace_flags.sampled)


def _remote(context: TraceContext) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=flags)

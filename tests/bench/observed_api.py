"""``python -m tests.bench.observed_api on|off``: one replica as it is, or the same without anything that observes it.

Off leaves out metrics, log lines, ids, traces and Kafka headers; what is measured against it is all that they cost.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanContext
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common import tracing
from services.inference import __main__ as replica
from services.inference import main
from services.inference.http import app
from services.inference.http.routes import events, users


class Nothing:
    """Stands for every metric: takes what a metric takes, and does nothing."""

    def labels(self, *_: object) -> "Nothing":
        return self

    def inc(self, _amount: float = 1) -> None:
        pass

    observe = set = inc

    def clear(self) -> None:
        pass

    def remove(self, *_: object) -> None:
        pass

    def time(self) -> Any:
        return nullcontext()

    track_inprogress = time


class NoMetrics:
    """Has every metric."""

    def __init__(self, registry: object) -> None:
        self.registry = registry

    def __getattr__(self, _name: str) -> Nothing:
        return Nothing()


class NoContext:
    """In place of the middleware: only what the routes cannot do without."""

    def __init__(self, app: ASGIApp, **_: object) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["movierecs.request_id"], scope["movierecs.trace"] = "", INVALID_SPAN_CONTEXT
        await self._app(scope, receive, send)


@contextmanager
def no_span(*_: object, **__: object) -> Iterator[SpanContext]:
    yield INVALID_SPAN_CONTEXT


def blind() -> None:
    """Take out everything that observes."""
    for module, name, instead in (
        (app, "RequestContext", NoContext),
        (main, "Metrics", NoMetrics),
        (tracing, "span", no_span),
        (events, "kafka_headers", lambda *_: {}),
        (users, "kafka_headers", lambda *_: {}),
    ):
        assert hasattr(module, name), f"{module.__name__} has no {name} any more"
        setattr(module, name, instead)


if __name__ == "__main__":
    if sys.argv[1] == "off":
        blind()
    replica.main()

"""Traces are off unless an endpoint is given, and then the SDK is not even loaded; ids go on all the same."""

import os
import subprocess
import sys

import pytest

from services.common import tracing
from services.contracts.trace import TraceContext

LOADED = """
import sys
import services.{service}.__main__
from services.common.tracing import configure_tracing, span
configure_tracing("{service}")
with span("x"):
    # Only FastAPI itself loads the API, the small part that does nothing.
    print(any(name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")) for name in sys.modules))
"""


@pytest.mark.parametrize("service", ["inference", "consumer", "trainer"])
@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:9"])
def test_opentelemetrys_sdk_is_loaded_only_with_an_endpoint(service: str, endpoint: str | None) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    if endpoint:
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(service=service)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [str(endpoint is not None)]


@pytest.mark.parametrize("flag", [True, False])
def test_while_traces_are_off_the_place_in_the_trace_is_passed_on_as_it_is(flag: bool) -> None:
    parent = TraceContext.new(sampled=flag)
    with tracing.span("publish", parent) as place:
        assert place is parent


def test_a_trace_that_begins_while_traces_are_off_is_not_sampled() -> None:
    with tracing.span("GET", kind="server") as first, tracing.span("GET", kind="server") as second:
        assert not first.sampled
        assert first.trace_id != second.trace_id

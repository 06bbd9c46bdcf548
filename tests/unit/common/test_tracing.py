"""Without an endpoint tracing is off and the SDK is not loaded, but trace ids are still propagated."""

import os
import subprocess
import sys

import pytest

from services.common import tracing
from services.contracts.trace import begin_trace

LOADED = """
import sys
import services.{service}.__main__
from services.common.tracing import configure_tracing, span
configure_tracing("{service}")
with span("x"):
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


@pytest.mark.parametrize("flags", ["00", "01"])
def test_while_tracing_is_off_the_span_context_is_propagated_unchanged(flags: str) -> None:
    header = f"00-{'a' * 32}-{'b' * 16}-{flags}"
    with tracing.span("GET", tracing.extract(header)) as outer, tracing.span("publish", outer) as inner:
        assert tracing.inject(inner) == {"traceparent": header}


@pytest.mark.parametrize(
    "header",
    [
        "", "spoofed\nline", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01",
        f"00-{'A' * 32}-{'b' * 16}-01",
        f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01-more", "ä" * 55,
        "0" * 100_000,
    ],
)  # fmt: skip
def test_a_malformed_header_starts_no_trace(header: str) -> None:
    with tracing.span("GET", tracing.extract(header)) as context:
        assert not context.is_valid
        assert tracing.inject(context) == {}


def test_a_client_starts_a_new_sampled_trace() -> None:
    (trace_id, header), (other_id, _) = begin_trace(), begin_trace()
    context = tracing.extract(header)
    assert context.trace_flags.sampled
    assert tracing.trace_id(context) == trace_id != other_id

"""One like from the page's client through the API and Kafka to its row: by the log's ids, and as one trace."""

import io
import json
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.client.recommender import RecommenderClient
from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.topics import EVENTS_TOPIC, IMPRESSIONS_TOPIC
from tests.support.bundles import make_bundle
from tests.support.inference import crown, prepare_catalogue
from tests.support.log_lines import logged
from tests.support.pipeline import Pipeline
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess, wait_until
from tests.support.services import KafkaServer
from ui import metrics


class Receiver:
    """An OTLP endpoint that keeps the spans it is sent, as (service, span)."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {a.key: a.value.string_value for a in group.resource.attributes}
                    spans = [span for scope in group.scope_spans for span in scope.spans]
                    receiver.spans += [(named["service.name"], span) for span in spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def page_log() -> Iterator[io.StringIO]:
    """What the page's package logs."""
    with logged("ui", "ui") as text:
        yield text


def test_a_like_is_followed_by_its_ids_and_as_one_trace(  # noqa: PLR0917 - fixtures
    own_kafka: KafkaServer,
    clickhouse_database: str,
    postgres_database: str,
    tmp_path: Path,
    receiver: Receiver,
    page_log: io.StringIO,
) -> None:
    pipeline = Pipeline(own_kafka.bootstrap, clickhouse_database, tmp_path)
    pipeline.events_topic, pipeline.impressions_topic = EVENTS_TOPIC, IMPRESSIONS_TOPIC
    pipeline.make_topics()
    prepare_catalogue(postgres_database)
    crown(postgres_database, make_bundle(tmp_path / "models", "first").manifest)
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = pipeline.env(
        POSTGRES_DSN=postgres_database, MODEL_DIR=str(tmp_path / "models"), ADMIN_API_KEY="a-key-for-this-test",
        INFERENCE_PORT=str(port), **traces,
    )  # fmt: skip
    inference = ServiceProcess(
        "inference",
        [sys.executable, "-m", "services.inference"],
        tmp_path / "inference.log",
        env={**os.environ, **environment},
    )
    consumer = pipeline.consumer(**traces)
    with ExitStack() as stack:
        for process in (inference, consumer):
            stack.callback(process.close)
            process.start()
        inference.wait_ready(lambda: answers(f"{url}/health/ready"))
        like = EventIn(
            event_id=uuid.uuid4(), event_time=datetime.now(timezone.utc), user_id=UserId(7), item_id=ItemId(3),
            action=Action.LIKE, source="ui",
        )  # fmt: skip
        RecommenderClient(url, agent="test", on_call=metrics.observe).events.send(like)
        wait_until(lambda: pipeline.count("events") == 1, 30, "the row")
        (asked,) = lines(page_log.getvalue(), "asked the API")
        wait_until(lambda: bool(lines((tmp_path / "consumer.log").read_text(), "stored")), 10, "the consumer's line")
        (stored,) = lines((tmp_path / "consumer.log").read_text(), "stored")
        (answered,) = lines((tmp_path / "inference.log").read_text(), "answered")
        assert asked["trace_id"] == answered["trace_id"] == stored["trace_id"]
        assert asked["request_id"] == answered["request_id"] == stored["request_id"]
        assert (answered["route"], answered["status"]) == ("/v1/events", 202)
        assert (stored["topic"], stored["service"]) == (EVENTS_TOPIC, "consumer")

        def trace() -> dict[tuple[str, str], Any]:
            wanted = bytes.fromhex(asked["trace_id"])
            return {(service, span.name): span for service, span in receiver.spans if span.trace_id == wanted}

        wait_until(lambda: len(trace()) == 3, 20, "three spans")
        publish = trace()["inference", "publish"]
        assert publish.parent_span_id == trace()["inference", "POST"].span_id
        assert trace()["consumer", "store"].parent_span_id == publish.span_id


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def lines(log: str, event: str) -> list[dict[str, Any]]:
    """The log's lines that tell of this event."""
    parsed = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in parsed if line["event"] == event]

"""The log line of a request: written if it is sampled, failed or slow; has the route's template, never its values."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry

from services.inference.http import request_context
from services.inference.http.request_context import RequestContext, request_id_of
from services.inference.metrics import Metrics
from tests.support.log_lines import logged

TRACE, SPAN = "a" * 32, "b" * 16
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-Id": "mine"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00", "X-Request-Id": "mine"}


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/v1/users/{user_id}/recommendations")
    async def lists(user_id: int, request: Request) -> dict[str, str | None]:
        if user_id == 0:
            raise RuntimeError("unforeseen")
        return {"request_id": request_id_of(request)}

    @app.get("/health/ready")
    async def ready() -> None:
        pass

    app.add_middleware(
        RequestContext,
        metrics=Metrics(CollectorRegistry()),
        on_error=lambda _request_id: Response(status_code=500),
    )
    return app


@pytest.fixture
def text() -> Iterator[io.StringIO]:
    with logged(request_context.log.name, "inference") as made:
        yield made


def ask(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(application())
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(asked())


def answered(text: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "answered"]


def test_a_sampled_request_is_logged_with_its_ids_and_route_template_and_none_of_its_values(text: io.StringIO) -> None:
    ask("/v1/users/4711/recommendations?genre=Secret", SAMPLED | {"X-API-Key": "hidden"})
    (line,) = answered(text)
    ms = line.pop("ms")
    assert isinstance(ms, float)
    assert ms >= 0
    line.pop("time")
    assert line == {
        "level": "info", "service": "inference", "logger": "services.inference.http.request_context",
        "event": "answered",
        "trace_id": TRACE, "request_id": "mine", "method": "GET", "status": 200,
        "route": "/v1/users/{user_id}/recommendations",
    }  # fmt: skip
    assert not any(word in text.getvalue() for word in ("4711", "Secret", "hidden"))


@pytest.mark.parametrize("headers", [None, UNSAMPLED])
def test_an_unsampled_request_is_logged_only_at_debug_level(text: io.StringIO, headers: dict[str, str] | None) -> None:
    ask("/v1/users/7/recommendations", headers)
    assert answered(text) == []
    request_context.log.setLevel(logging.DEBUG)
    ask("/v1/users/7/recommendations", headers)
    (line,) = answered(text)
    assert line["level"] == "debug"


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/v1/users/none/recommendations", 422, "info"),
        ("/v1/nothing", 404, "info"),
        ("/v1/users/0/recommendations", 500, "warning"),
    ],
)
def test_a_failed_request_is_logged_even_if_not_sampled(text: io.StringIO, path: str, status: int, level: str) -> None:
    assert ask(path, UNSAMPLED).status_code == status
    (line,) = answered(text)
    assert (line["status"], line["level"], line["trace_id"]) == (status, level, TRACE)


def test_a_slow_request_is_logged(text: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_context, "SLOW_SECONDS", 0.0)
    ask("/v1/users/7/recommendations")
    assert len(answered(text)) == 1


def test_health_checks_are_not_logged(text: io.StringIO) -> None:
    ask("/health/ready", SAMPLED)
    assert answered(text) == []


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "line\tfeed"])
def test_a_malformed_request_id_is_replaced_by_the_trace_id(given: str) -> None:
    answer = ask("/v1/users/7/recommendations", SAMPLED | {"X-Request-Id": given})
    assert answer.json() == {"request_id": TRACE}
    assert answer.headers["X-Request-Id"] == TRACE

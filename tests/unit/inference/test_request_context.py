"""What a request leaves in the log: a line when it is followed, failed or slow; its template, never what it asked."""

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

from services.contracts.logs import JsonFormatter
from services.inference.http import request_context
from services.inference.http.request_context import RequestContext, request_id_of
from services.inference.metrics import Metrics

TRACE, PLACE = "a" * 32, "b" * 16
FOLLOWED = {"traceparent": f"00-{TRACE}-{PLACE}-01", "X-Request-Id": "mine"}
UNFOLLOWED = {"traceparent": f"00-{TRACE}-{PLACE}-00", "X-Request-Id": "mine"}


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
    made = io.StringIO()
    handler = logging.StreamHandler(made)
    handler.setFormatter(JsonFormatter("inference"))
    before = request_context.log.level
    request_context.log.setLevel(logging.INFO)
    request_context.log.addHandler(handler)
    yield made
    request_context.log.removeHandler(handler)
    request_context.log.setLevel(before)


def ask(path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(application())
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(asked())


def answered(text: io.StringIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "answered"]


def test_a_followed_request_leaves_its_ids_and_its_template_and_nothing_that_it_said(text: io.StringIO) -> None:
    ask("/v1/users/4711/recommendations?genre=Secret", FOLLOWED | {"X-API-Key": "hidden"})
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


@pytest.mark.parametrize("headers", [None, UNFOLLOWED])
def test_a_request_that_nobody_follows_leaves_a_line_only_when_debugging(
    text: io.StringIO, headers: dict[str, str] | None
) -> None:
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
def test_a_request_that_failed_leaves_a_line_also_when_nobody_follows_it(
    text: io.StringIO, path: str, status: int, level: str
) -> None:
    assert ask(path, UNFOLLOWED).status_code == status
    (line,) = answered(text)
    assert (line["status"], line["level"], line["trace_id"]) == (status, level, TRACE)


def test_a_slow_request_leaves_a_line(text: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_context, "SLOW_SECONDS", 0.0)
    ask("/v1/users/7/recommendations")
    assert len(answered(text)) == 1


def test_health_is_asked_too_often_for_lines(text: io.StringIO) -> None:
    ask("/health/ready", FOLLOWED)
    assert answered(text) == []


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", "line\tfeed"])
def test_an_id_that_is_not_well_formed_gives_way_to_the_traces(given: str) -> None:
    answer = ask("/v1/users/7/recommendations", FOLLOWED | {"X-Request-Id": given})
    assert answer.json() == {"request_id": TRACE}
    assert answer.headers["X-Request-Id"] == TRACE

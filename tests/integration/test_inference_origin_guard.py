"""A replica's request guard: host names, other sites' pages, media types, HEAD; and clients that hang up."""

import http.client
import logging
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.inference import ADMIN_KEY, Replica, assert_problem, wait_until

LIKE = {"user_id": 1, "item_id": 1, "action": "like"}
ADMIN = {"X-Admin-Key": ADMIN_KEY}


def routes(replica: Replica) -> list[tuple[str, str]]:
    paths = replica.client.get("/openapi.json").json()["paths"]
    filled = {path: re.sub(r"\{\w+\}", "7", path) for path in paths}
    described = [(method.upper(), filled[path]) for path, methods in paths.items() for method in methods]
    return [*described, ("GET", "/openapi.json"), ("GET", "/nowhere")]


FOREIGN: list[tuple[dict[str, str], int, str]] = [
    ({"Host": "evil.example"}, 421, "Host"),
    ({"Host": "127.0.0.1.evil.example:8000"}, 421, "Host"),
    ({"Origin": "http://evil.example"}, 403, "Origin"),
    ({"Origin": "http://127.0.0.1:8501"}, 403, "Origin"),
    ({"Origin": "null"}, 403, "Origin"),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403, "Sec-Fetch-Site"),
    ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403, "Sec-Fetch-Site"),
]


@pytest.mark.parametrize(("headers", "status", "field"), FOREIGN)
@pytest.mark.usefixtures("nothing_published")
def test_a_foreign_host_or_page_is_refused_on_every_route(
    replica: Replica, headers: dict[str, str], status: int, field: str
) -> None:
    for method, path in routes(replica):
        body = LIKE if method == "POST" else None
        assert_problem(replica.client.request(method, path, headers=headers | ADMIN, json=body), status, field)
    assert replica.client.get("/v1/users/7/history").status_code == 200, "the viewer was not erased"


def test_no_answer_allows_another_origin_or_may_be_loaded_by_one(replica: Replica) -> None:
    for method, path in [*routes(replica), ("OPTIONS", "/v1/events")]:
        for origin in ("http://evil.example", str(replica.client.base_url)):
            answer = replica.client.request(method, path, headers={"Origin": origin})
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_our_own_page_and_programs_may_ask(replica: Replica) -> None:
    own = {"Origin": str(replica.client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert replica.client.post("/v1/events", json=LIKE, headers=own).status_code == 202
    assert replica.client.get("/v1/users/7/history", headers={"Sec-Fetch-Site": "none"}).status_code == 200
    port = replica.client.base_url.port
    assert replica.client.get("/v1/users/7/history", headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json-patch+json"},
        {"Content-Type": "text/plain, application/json"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/json", "Content-Encoding": ""},
    ],
)
@pytest.mark.parametrize("content", [b'{"user_id": 1, "item_id": 1, "action": "like"}', b""])
@pytest.mark.usefixtures("nothing_published")
def test_a_body_is_json_as_it_is(replica: Replica, headers: dict[str, str], content: bytes) -> None:
    answer = replica.client.post("/v1/events", content=content, headers=headers)
    encoded = "Content-Encoding" in headers
    assert_problem(answer, 415, "Content-Encoding" if encoded else "Content-Type")
    if content:
        reload = replica.client.post("/v1/models/reload", content=content, headers=headers | ADMIN)
        assert_problem(reload, 415, "Content-Encoding" if encoded else "Content-Type")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8"])
def test_json_may_say_that_it_is_utf_8(replica: Replica, kind: str) -> None:
    content = b'{"user_id": 1, "item_id": 1, "action": "like"}'
    assert replica.client.post("/v1/events", content=content, headers={"Content-Type": kind}).status_code == 202


def test_head_is_get_without_the_body(replica: Replica) -> None:
    for method, path in routes(replica):
        if method != "GET":
            continue
        got = replica.client.get(path, headers=ADMIN, params={"query": "a"} if path == "/v1/items" else None)
        head = replica.client.head(path, headers=ADMIN, params={"query": "a"} if path == "/v1/items" else None)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
    missing = replica.client.head("/v1/events")
    assert missing.status_code == 405
    assert replica.client.post("/v1/items/popular").headers["Allow"] == "GET, HEAD"


def test_a_list_asked_for_with_head_is_not_counted_as_shown(replica: Replica) -> None:
    def shown() -> float:
        text = replica.client.get("/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("recommendations_served_"))

    before = shown()
    assert replica.client.head("/v1/users/7/recommendations").status_code == 200
    assert shown() == before
    assert 'method="HEAD",route="/v1/users/{user_id}/recommendations"' in replica.client.get("/metrics").text


class _Raw:
    """A client that hangs up whenever it likes."""

    def __init__(self, replica: Replica) -> None:
        url = replica.client.base_url
        self.socket = socket.create_connection((url.host, url.port), timeout=10)

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@pytest.fixture
def no_error(replica: Replica, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    def errors() -> list[str]:
        lines = replica.client.get("/metrics").text.splitlines()
        return [line for line in lines if re.search(r'http_server_request.*_count.*status="5', line)]

    before = errors()
    with caplog.at_level(logging.INFO):
        yield
    assert errors() == before
    assert [r.getMessage() for r in caplog.records if r.exc_info or r.levelno >= logging.WARNING] == []


HEAD = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"user_id": 1, "item_id": 1, "action": "like"}'


@pytest.mark.usefixtures("no_error")
@pytest.mark.parametrize("abrupt", [True, False])
def test_a_client_that_hangs_up_is_no_error(replica: Replica, abrupt: bool) -> None:
    length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    chunked = b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"use'
    get = b"GET /v1/users/7/recommendations?k=100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for sent in (HEAD, HEAD + length, HEAD + length + BODY[:20], HEAD + chunked, HEAD + length + BODY, get, get * 10):
        for _ in range(3):
            client = _Raw(replica)
            client.send(sent)
            client.reset() if abrupt else client.socket.close()

    def at_rest() -> bool:
        lines = replica.client.get("/metrics").text.splitlines()
        (value,) = [line.split()[1] for line in lines if line.startswith("http_server_active_requests ")]
        return float(value) == 1

    wait_until(at_rest, "no request is in flight but the one that asks")


def test_http_1_0_and_a_missing_host(replica: Replica) -> None:
    def ask(request: bytes) -> int:
        client = _Raw(replica)
        client.send(request)
        answer: Any = http.client.HTTPResponse(client.socket)
        answer.begin()
        client.socket.close()
        return int(answer.status)

    assert ask(b"GET /health/live HTTP/1.0\r\nHost: localhost\r\n\r\n") == 200
    assert ask(b"GET /health/live HTTP/1.1\r\n\r\n") == 400
    assert ask(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n") == 400
    assert ask(b"GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n") == 400


def test_a_slash_at_the_end_leads_nowhere(replica: Replica) -> None:
    assert_problem(replica.client.get("/v1/users/7/history/"), 404)

"""Whatever a server answers, the probe's viewer returns a valid answer or raises one of two kinds of error."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.client.errors import ApiError, UnreachableError
from services.client.recommender import RecommenderClient
from services.contracts.events import Action
from services.contracts.ids import PROBE_USER, ItemId
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT
from services.probe.viewer import Viewer

Answer = tuple[int, bytes]


class Server(ThreadingHTTPServer):
    """Answers every request with `answer`, after `release` is set; records the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer: Answer = (200, b"")
        self.release = threading.Event()
        self.release.set()
        self.asked: list[tuple[str, str, bytes]] = []
        self.headers: list[set[str]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, body))
        self.server.headers.append({name.lower() for name in self.headers})
        self.server.release.wait(10)
        status, content = self.server.answer
        if status == 0:
            return  # hangs up without an answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.release.set()
        server.shutdown()


def viewer_at(url: str, timeout_seconds: float = 5) -> Viewer:
    return Viewer(RecommenderClient(url, agent="test", timeout_seconds=timeout_seconds, keep_alive=False))


CALLS: list[Callable[[Viewer], object]] = [
    lambda viewer: viewer.recommended(),
    lambda viewer: viewer.liked(),
    lambda viewer: viewer.send(Action.LIKE, ItemId(1)),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [(503, b'{"detail": "no model"}'), (422, b""), (302, b""), (200, b""), (200, b"\xff{"), (200, b"[]"), (204, b"")],
)
def test_any_other_answer_is_an_api_error(server: Server, answer: Answer, call: Callable[[Viewer], object]) -> None:
    server.answer = answer
    with pytest.raises(ApiError) as raised:
        call(viewer_at(server.url))
    assert not isinstance(raised.value, UnreachableError)
    assert "/v1/" in raised.value.reason
    assert len(server.asked) == 1


@pytest.mark.parametrize("call", CALLS)
def test_no_answer_is_unreachable(server: Server, call: Callable[[Viewer], object]) -> None:
    server.answer = (0, b"")
    with pytest.raises(UnreachableError):
        call(viewer_at(server.url))
    server.release.clear()
    with pytest.raises(UnreachableError, match="too long") as raised:
        call(viewer_at(server.url, 0.1))
    assert "Timeout" in raised.value.reason


def test_a_closed_port_and_an_unknown_host_are_unreachable() -> None:
    for url in ("http://127.0.0.1:9", "http://nowhere.invalid"):
        with pytest.raises(UnreachableError, match="cannot be reached") as raised:
            viewer_at(url, 2).recommended()
        assert raised.value.reason.startswith("GET /v1/users")


def test_each_like_has_its_own_id_and_names_its_source(server: Server) -> None:
    server.answer = (202, b'{"accepted": []}')
    viewer = viewer_at(server.url)
    for _ in range(2):
        viewer.send(Action.LIKE, ItemId(7))
    first, second = (json.loads(body) for _, _, body in server.asked)
    assert first.pop("event_id") != second.pop("event_id")
    assert first == second == {"user_id": PROBE_USER, "item_id": 7, "action": "like", "source": "probe"}


def test_a_client_starts_traces_only_if_on_call_is_given(server: Server) -> None:
    server.answer = (202, b'{"accepted": []}')
    viewer_at(server.url).send(Action.LIKE, ItemId(7))
    observed = RecommenderClient(server.url, agent="test", on_call=lambda _call: None)
    Viewer(observed).send(Action.LIKE, ItemId(7))
    traced = {TRACEPARENT.lower(), REQUEST_ID_HEADER.lower()}
    assert [traced & headers for headers in server.headers] == [set(), traced]


def test_only_current_likes_are_liked(server: Server) -> None:
    def entry(item: int, opinion: int | None) -> dict[str, object]:
        film = {"id": item, "title": "T", "genres": []}
        return {"item": film, "opinion": opinion, "rating": 4, "watched": True, "updated_at": "2026-11-21T10:00:00Z"}

    entries = [entry(1, 1), entry(2, 0), entry(3, -1), entry(4, None)]
    server.answer = (200, json.dumps({"user_id": PROBE_USER, "total": 4, "entries": entries}).encode())
    assert viewer_at(server.url).liked() == [1]

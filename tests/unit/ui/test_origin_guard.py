"""The page is for whoever asks for it by name or follows a link; no other page may load it or talk to it."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket

from ui.origin_guard import OriginGuardMiddleware

OURS = "http://localhost"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


@pytest.fixture
def client() -> TestClient:
    page = Starlette(routes=[Route("/", lambda _: PlainTextResponse("page")), WebSocketRoute("/stream", talk)])
    return TestClient(OriginGuardMiddleware(page, ["demo.example"]), base_url=OURS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "demo.example:8501"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Origin": OURS, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        (LINK, 200),
        (LINK | {"Sec-Fetch-Dest": "iframe"}, 403),
    ],
)
def test_the_page_is_for_whoever_asks_for_it(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/", headers=headers).status_code == status


def test_only_our_own_page_may_open_a_websocket(client: TestClient) -> None:
    with client.websocket_connect("ws://localhost/stream", headers={"Origin": OURS}):
        pass
    with (
        pytest.raises(WebSocketDenialResponse),
        client.websocket_connect("ws://localhost/stream", headers={"Origin": "http://evil.example"}),
    ):
        pass

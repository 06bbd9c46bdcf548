"""What the page measures of its calls, as Prometheus reads it."""

import socket
import threading

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.client.errors import ApiError
from services.client.recommender import RecommenderClient
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Problem
from tests.support.ports import free_port
from tests.unit.ui.conftest import FakeService
from tests.unit.ui.fake_api import unavailable
from ui import metrics, metrics_server


def counts(port: int) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    samples = (s for family in families for s in family.samples if s.name == "ui_api_request_seconds_count")
    return {(s.labels["route"], s.labels["outcome"]): s.value for s in samples}


def test_every_call_is_measured_by_its_route_and_how_it_ended(service: FakeService) -> None:
    metrics.serve("127.0.0.1", port := free_port())
    before = counts(port)
    client = RecommenderClient(service.url, agent="movierecs-ui", on_call=metrics.observe)
    client.users.recommendations(UserId(42), 5)
    client.users.recommendations(UserId(43), 5)
    refused = Problem(title="Not found", status=404, detail="no such film")
    for problem in (refused, unavailable()):
        service.state.failing = [problem]
        with pytest.raises(ApiError):
            client.items.item(ItemId(1))
    with pytest.raises(ApiError):
        RecommenderClient("http://127.0.0.1:9", agent="movierecs-ui", on_call=metrics.observe).items.popular(1)
    grown = {key: value - before.get(key, 0) for key, value in counts(port).items() if value != before.get(key, 0)}
    assert grown == {
        ("/v1/users/{user_id}/recommendations", "ok"): 2,
        ("/v1/items/{item_id}", "refused"): 1,
        ("/v1/items/{item_id}", "unavailable"): 1,
        ("/v1/items/popular", "unavailable"): 1,
    }


def test_a_port_that_is_taken_stops_no_page(caplog: pytest.LogCaptureFixture) -> None:
    metrics.serve("127.0.0.1", port := free_port())
    metrics.serve("127.0.0.1", port)  # the next session
    metrics._served.discard(port)  # as another process would
    metrics.serve("127.0.0.1", port)
    assert f"no /metrics on 127.0.0.1:{port}" in caplog.text
    metrics.serve("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:9105"}, 200),
        ({"Host": "ui:9105"}, 200),
        ({"Host": "[::1]:9105"}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example:9105"}, 421),
        ({"Host": ""}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_metrics_are_for_whoever_asks_us_and_for_no_foreign_page(headers: dict[str, str], status: int) -> None:
    metrics.serve("127.0.0.1", port := free_port(), frozenset({"ui"}))
    assert httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers).status_code == status
    assert httpx.post(f"http://127.0.0.1:{port}/metrics").status_code == 405
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 404
    assert httpx.head(f"http://127.0.0.1:{port}/metrics").status_code == 200


def test_connections_that_never_ask_keep_no_threads_and_no_scrape_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "MAX_SECONDS", 0.5)
    metrics.serve("127.0.0.1", port := free_port())
    before = threading.active_count()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(3 * metrics_server.MAX_CONNECTIONS)]
    for connection in slow:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
    assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).status_code == 200
    assert threading.active_count() - before <= 2 * metrics_server.MAX_CONNECTIONS
    for connection in slow:
        connection.close()

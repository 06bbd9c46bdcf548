"""What the page measures of its calls, as Prometheus reads it."""

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Problem
from tests.support.ports import free_port
from tests.unit.ui.conftest import FakeService
from tests.unit.ui.fake_api import unavailable
from ui import metrics
from ui.client import RecommenderClient
from ui.errors import ApiError


def counts(port: int) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    samples = (s for family in families for s in family.samples if s.name == "ui_api_request_seconds_count")
    return {(s.labels["route"], s.labels["outcome"]): s.value for s in samples}


def test_every_call_is_measured_by_its_route_and_how_it_ended(service: FakeService) -> None:
    metrics.serve("127.0.0.1", port := free_port())
    before = counts(port)
    client = RecommenderClient(service.url)
    client.recommendations(UserId(42), 5)
    client.recommendations(UserId(43), 5)
    refused = Problem(title="Not found", status=404, detail="no such film")
    for problem in (refused, unavailable()):
        service.state.failing = [problem]
        with pytest.raises(ApiError):
            client.item(ItemId(1))
    with pytest.raises(ApiError):
        RecommenderClient("http://127.0.0.1:9").popular(1)
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

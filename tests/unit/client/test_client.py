"""The typed client: what it sends, and which exception each kind of failure becomes."""

import threading
import uuid
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from services.client.errors import RefusedError, ServiceDownError, UnexpectedAnswerError
from services.client.recommender import RecommenderClient
from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import FieldError, Problem, Strategy
from tests.unit.ui.conftest import FakeService
from tests.unit.ui.fake_api import unavailable

VIEWER = UserId(42)
ATTEMPTS = 3


@pytest.fixture
def client(service: FakeService) -> RecommenderClient:
    return RecommenderClient(service.url + "/", agent="movierecs-ui", timeout_seconds=5)


def client_at(server: HTTPServer, timeout_seconds: float = 5) -> RecommenderClient:
    return RecommenderClient(
        f"http://127.0.0.1:{server.server_address[1]}", agent="movierecs-ui", timeout_seconds=timeout_seconds
    )


def a_like(item: int = 1) -> EventIn:
    return EventIn(
        event_id=uuid.uuid4(), event_time=datetime.now(timezone.utc), user_id=VIEWER, item_id=ItemId(item),
        action=Action.LIKE, source="ui",
    )  # fmt: skip


def test_answers_are_parsed_into_the_contracts_models(client: RecommenderClient) -> None:
    made = client.users.recommendations(VIEWER, 5)
    assert (len(made.items), made.strategy) == (5, Strategy.POPULAR)
    assert [film.title for film in client.items.search("toy", 5)] == ["Toy Story"]
    assert client.items.similar(ItemId(1), 3).items[0].title == "Raiders of the Lost Ark"
    assert all("Sci-Fi" in film.genres for film in client.users.recommendations(VIEWER, 5, "Sci-Fi").items)


def test_an_event_is_in_the_history_once_it_is_sent(client: RecommenderClient) -> None:
    client.events.send(a_like())
    assert [(e.item.id, e.opinion) for e in client.users.history(VIEWER, 10).entries] == [(1, 1)]


def test_an_event_is_retried_with_the_same_id_while_the_service_is_unavailable(
    client: RecommenderClient, service: FakeService
) -> None:
    event = a_like()
    service.state.failing = [unavailable()] * (ATTEMPTS - 1)
    client.events.send(event, attempts=ATTEMPTS)
    assert service.state.events == [event]


def test_an_event_is_given_up_after_a_few_attempts(client: RecommenderClient, service: FakeService) -> None:
    service.state.failing = [unavailable("Kafka does not answer.")] * ATTEMPTS
    with pytest.raises(ServiceDownError, match=r"Kafka does not answer\."):
        client.events.send(a_like(), attempts=ATTEMPTS)
    assert service.state.failing == []
    assert service.state.events == []


def test_a_refused_event_is_not_sent_again_and_names_the_field(client: RecommenderClient, service: FakeService) -> None:
    refusal = Problem(
        title="Unprocessable",
        status=422,
        detail="1 error",
        errors=[FieldError(field="item_id", message="no such film")],
    )
    service.state.failing = [refusal]
    with pytest.raises(RefusedError, match="item_id: no such film") as raised:
        client.events.send(a_like())
    assert raised.value.problem.status == 422
    assert service.state.events == []


@pytest.mark.parametrize("missing", ["event_id", "event_time"])
def test_an_event_that_may_be_retried_needs_its_id_and_its_time(client: RecommenderClient, missing: str) -> None:
    with pytest.raises(ValueError, match="needs its id and its time"):
        client.events.send(a_like().model_copy(update={missing: None}), attempts=2)


def test_a_film_that_does_not_exist_is_refused(client: RecommenderClient) -> None:
    with pytest.raises(RefusedError, match="There is no film 999"):
        client.items.item(ItemId(999))


def test_a_closed_port_is_a_service_that_is_down() -> None:
    with pytest.raises(ServiceDownError, match="cannot be reached"):
        RecommenderClient("http://127.0.0.1:9", agent="movierecs-ui", timeout_seconds=2).items.popular(1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>hello</html>", UnexpectedAnswerError),
        (200, b'{"items": 3}', UnexpectedAnswerError),
        (502, b"<html>Bad Gateway</html>", ServiceDownError),
        (404, b"not found", RefusedError),
    ],
)
def test_each_kind_of_failure_has_its_own_error(status: int, body: bytes, expected: type[Exception]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.handle_request, daemon=True).start()
    with pytest.raises(expected):
        client_at(server).items.popular(1)
    server.server_close()


def test_a_server_that_does_not_answer_is_a_service_that_is_down() -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # listens, and never answers
    with pytest.raises(ServiceDownError, match="too long"):
        client_at(server, timeout_seconds=0.3).items.popular(1)
    server.server_close()

"""Bad requests: 4xx as problem+json that names the field, and nothing reaches the topic."""

from datetime import datetime, timedelta, timezone

import pytest

from services.contracts.ids import PROBE_SOURCE, PROBE_USER
from tests.support.inference import ADMIN_KEY, Replica, assert_problem

LIKE = {"user_id": 1, "item_id": 1, "action": "like"}
FAR = (
    datetime.now(timezone.utc) + timedelta(days=1)
).isoformat()  # counted from the import, which may lie minutes back
JSON = {"Content-Type": "application/json"}
SAME_ID = "7b0a2f0e-8f6b-4d38-9d6b-1d5f2f6a0c11"


def changed(**fields: object) -> dict[str, object]:
    return {key: value for key, value in (LIKE | fields).items() if value is not ...}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (changed(item_id=46), "item_id"),
        (changed(item_id="1"), "item_id"),
        (changed(item_id=1.5), "item_id"),
        (changed(user_id=True), "user_id"),
        (changed(user_id=0), "user_id"),
        (changed(user_id=2**63), "user_id"),
        (changed(user_id=None), "user_id"),
        (changed(user_id=...), "user_id"),
        (changed(action="love"), "action"),
        (changed(action="rate"), "value"),
        (changed(value=3), "value"),
        (changed(action="rate", value=5.5), "value"),
        (changed(action="rate", value="5"), "value"),
        (changed(event_time=FAR), "event_time"),
        (changed(event_time="2026-01-01T00:00:00"), "event_time"),
        (changed(event_time="1970-01-01T00:00:00Z"), "event_time"),
        (changed(event_time="yesterday"), "event_time"),
        (changed(event_id="not-a-uuid"), "event_id"),
        (changed(request_id=7), "request_id"),
        (changed(source="Has Spaces"), "source"),
        (changed(surprise=1), "surprise"),
        (changed(schema_version=1), "schema_version"),
    ],
)
@pytest.mark.usefixtures("nothing_published")
def test_one_bad_event_is_named_alone_and_in_a_batch(replica: Replica, event: dict[str, object], field: str) -> None:
    assert_problem(replica.client.post("/v1/events", json=event), 422, field)
    assert_problem(replica.post(LIKE, LIKE, LIKE, event), 422, f"events.3.{field}")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"[]", "body"),
        (b"null", "body"),
        (b'{"user_id": NaN, "item_id": 1, "action": "like"}', "user_id"),
        (b"[" * 100_000, "body"),
        (b'{"events": []}', "events"),
        (b'{"events": {}}', "events"),
        (b'{"events": [1]}', "events.0"),
        (b'{"events": [], "more": 1}', "events"),
        (b'{"user_id": 1, "user_id": 2, "item_id": 1, "action": "like"}', "user_id"),
    ],
)
@pytest.mark.usefixtures("nothing_published")
def test_a_malformed_body(replica: Replica, body: bytes, field: str) -> None:
    answer = replica.client.post("/v1/events", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.usefixtures("nothing_published")
def test_too_many_events_too_many_bytes_and_one_id_twice(replica: Replica) -> None:
    assert_problem(replica.post(*[LIKE] * 1001), 422, "events")
    assert_problem(replica.client.post("/v1/events", content=b" " * (1 << 20) + b"{}", headers=JSON), 413, "body")
    twice = LIKE | {"event_id": SAME_ID}
    assert_problem(replica.post(twice, LIKE, twice), 422, "events.2.event_id")


@pytest.mark.usefixtures("nothing_published")
def test_every_wrong_field_is_named(replica: Replica) -> None:
    assert_problem(
        replica.post(LIKE | {"item_id": 99}, LIKE, LIKE | {"item_id": 98, "event_time": FAR}),
        422, "events.0.item_id", "events.2.item_id", "events.2.event_time",
    )  # fmt: skip


@pytest.mark.usefixtures("nothing_published")
def test_the_probes_viewer_is_not_for_others(replica: Replica) -> None:
    reserved = LIKE | {"user_id": PROBE_USER}
    assert_problem(replica.client.post("/v1/events", json=reserved), 422, "source")
    assert_problem(replica.client.post("/v1/events", json=LIKE | {"source": PROBE_SOURCE}), 422, "source")
    assert_problem(replica.post(LIKE, reserved | {"source": "demo"}), 422, "events.1.source")


def test_the_probes_viewer_cannot_be_erased(replica: Replica) -> None:
    answer = replica.client.delete(f"/v1/users/{PROBE_USER}", headers={"X-Admin-Key": ADMIN_KEY})
    assert_problem(answer, 422, "user_id")
    assert replica.recommendations(PROBE_USER)[0] == "popular"


def test_a_thousand_events_are_not_too_many(replica: Replica) -> None:
    answer = replica.post(*[LIKE | {"item_id": n % 45 + 1} for n in range(1000)])
    assert answer.status_code == 202
    assert len(answer.json()["accepted"]) == 1000


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/users/7/recommendations?k=0", "k"),
        ("/v1/users/7/recommendations?k=101", "k"),
        ("/v1/users/7/recommendations?k=ten", "k"),
        ("/v1/users/0/recommendations", "user_id"),
        ("/v1/users/x/recommendations", "user_id"),
        (f"/v1/users/{2**63}/history", "user_id"),
        ("/v1/users/7/recommendations?genre=Ballet", "genre"),
        ("/v1/items/popular?genre=Ballet", "genre"),
        ("/v1/items/popular?recent=perhaps", "recent"),
        ("/v1/items/popular?k=-1", "k"),
        ("/v1/users/7/history?limit=0", "limit"),
        ("/v1/items", "query"),
        ("/v1/items?query=", "query"),
        ("/v1/items?query=%20", "query"),
        ("/v1/items?query=a%00b", "query"),
        ("/v1/items/0/similar", "item_id"),
        ("/v1/items/4_2", "item_id"),
        ("/v1/items/1.0/similar", "item_id"),
        (f"/v1/items/{2**53 - 1}", "item_id"),
        (f"/v1/users/{2**53}/history", "user_id"),
        ("/v1/users/+42/history", "user_id"),
        ("/v1/users/7/recommendations?k=1_0", "k"),
        ("/v1/users/7/recommendations?k=5&k=6", "k"),
        ("/v1/users/7/recommendations?limit=5", "limit"),
        ("/v1/users/7/history?limit=1_0", "limit"),
        ("/v1/items/popular?recent=1", "recent"),
        ("/v1/items/popular?recent=True", "recent"),
        ("/v1/items?query=a&query=b", "query"),
        ("/v1/items?query=%FF", "query"),
        ("/v1/models/current?x=1", "x"),
        ("/health/ready?x=1", "x"),
    ],
)
def test_bad_parameters(replica: Replica, path: str, field: str) -> None:
    assert_problem(replica.client.get(path), 422, field)


def test_what_is_not_there(replica: Replica) -> None:
    assert_problem(replica.client.get("/v1/items/46/similar"), 404, "item_id")
    assert_problem(replica.client.get("/v1/nowhere"), 404)
    assert_problem(replica.client.put("/v1/events", json={}), 405)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/models/reload"), ("DELETE", "/v1/users/7"), ("GET", "/v1/users/7/export")]
)
def test_admin_routes_want_the_right_key(replica: Replica, method: str, path: str) -> None:
    assert_problem(replica.client.request(method, path), 401, "X-Admin-Key")
    for wrong in ("", "wrong", ADMIN_KEY + "x", ADMIN_KEY.upper()):
        answer = replica.client.request(method, path, headers={"X-Admin-Key": wrong})
        assert_problem(answer, 403 if wrong else 401, "X-Admin-Key")


def test_the_openapi_description_is_complete(replica: Replica) -> None:
    description = replica.client.get("/openapi.json").json()
    schemas = description["components"]["schemas"]
    assert set(schemas) >= {"EventIn", "EventsIn", "Problem", "PublishProblem", "FieldError"}
    assert "HTTPValidationError" not in schemas
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            if path.startswith("/v1"):
                assert "application/problem+json" in operation["responses"]["422"]["content"], path
    assert (
        len(description["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["examples"]) == 2
    )


def test_an_unexpected_error_is_a_500_without_its_details(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(replica.services.recommendations, "_moment", fail)
    answer = replica.client.get("/v1/users/7/recommendations")
    assert_problem(answer, 500)
    assert "secret" not in answer.text


def test_what_is_taken_is_not_too_far_ahead_for_the_topic_either(replica: Replica) -> None:
    """The topic allows five minutes by the broker's clock; the API keeps a distance from that."""
    for seconds, status in ((240, 202), (290, 422)):
        ahead = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        answer = replica.client.post("/v1/events", json=LIKE | {"event_time": ahead.isoformat()})
        assert answer.status_code == status, answer.text

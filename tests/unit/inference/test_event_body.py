"""Bodies of POST /v1/events: what is accepted, and how errors are named and counted."""

import json
import time
from typing import Any

import pytest

from services.contracts.ids import PROBE_USER
from services.inference.http.event_body import parse
from services.inference.http.problems import ProblemError

LIKE = {"user_id": 1, "item_id": 2, "action": "like"}


def refused(body: Any) -> ProblemError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ProblemError) as error:
        parse(raw)
    assert error.value.status == 422
    assert len(error.value.errors) <= 20
    assert len(error.value.problem("id").model_dump_json()) < 20_000
    return error.value


def like(**fields: Any) -> bytes:
    """A like whose fields are given as JSON."""
    parts = {"user_id": "1", "item_id": "2", "action": '"like"'} | fields
    return ("{" + ", ".join(f'"{name}": {value}' for name, value in parts.items()) + "}").encode()


def test_one_event_and_several() -> None:
    assert [event.user_id for event in parse(json.dumps(LIKE).encode())[0]] == [1]
    events, prefix = parse(json.dumps({"events": [LIKE, LIKE | {"user_id": 3}]}).encode())
    assert ([event.user_id for event in events], prefix) == ([1, 3], "events.")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"user_id": 1, "user_id": 2, "item_id": 2, "action": "like"}', "user_id"),
        (b'{"user_id": 1, "user_id": 1, "item_id": 2, "action": "like"}', "user_id"),
        (b'{"user_id": 1, "user\\u005fid": 2, "item_id": 2, "action": "like"}', "user_id"),
        (b'{"events": [{"user_id": 1, "item_id": 2, "action": "like", "action": "dislike"}]}', "action"),
        (b'{"events": [], "events": [{"user_id": 1, "item_id": 2, "action": "like"}]}', "events"),
    ],
)
def test_a_duplicate_name_is_refused(body: bytes, field: str) -> None:
    error = refused(body)
    assert (error.errors[0].field, error.errors[0].message) == (field, "is given more than once")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (like(user_id="NaN"), "user_id"),
        (like(user_id="Infinity"), "user_id"),
        (like(action='"rate"', value="NaN"), "value"),
        (like(action='"rate"', value="-Infinity"), "value"),
        (like(action='"rate"', value="1e400"), "value"),
        (like(user_id="1.0"), "user_id"),
        (like(user_id="1e0"), "user_id"),
        (like(user_id="9" * 20), "user_id"),
        (like(user_id="9" * 4_000), "user_id"),
        (like(user_id="9" * 5_000), "body"),
        (like(user_id="9" * 1_000_000), "body"),
        (like(user_id="-" + "9" * 5_000), "body"),
        (like(user_id="01"), "body"),
        (like(user_id="+1"), "body"),
        (like(user_id="1_0"), "body"),
        (like(user_id="0x1"), "body"),
        (like(user_id="true"), "user_id"),
        (like(source=r'"\ud800"'), "body"),
        (like(source=r'"\udc00\ud800"'), "body"),
        (like(source=r'"a\u0000"'), "source"),
        (like(source='"probe"'), "source"),
        (like(user_id=str(PROBE_USER)), "source"),
        (like(user_id=str(PROBE_USER), source='"demo"'), "source"),
        (like(user_id=str(PROBE_USER + 1), source='"probe"'), "user_id"),
        (like(item_id=str(PROBE_USER)), "item_id"),
        (b'{"a":' * 100_000, "body"),
        (b"[" * 100_000, "body"),
        (b"\xef\xbb\xbf" + like(), "body"),
        (like().decode().encode("utf-16"), "body"),
        (like(source='"é"').decode().encode("latin-1"), "body"),
        (like() + b"{}", "body"),
        (b"\x00", "body"),
        (b"{'user_id': 1}", "body"),
        (b'{"user_id": 1,}', "body"),
        (b'"events"', "body"),
        (b"1", "body"),
    ],
)
def test_an_invalid_body_is_refused_with_a_message(body: bytes, field: str) -> None:
    error = refused(body)
    assert error.errors[0].field == field
    assert len(error.errors[0].message) > 5


@pytest.mark.parametrize("depth", [2, 150, 199, 201, 5_000])
def test_nesting_of_any_depth_is_refused_with_a_message(depth: int) -> None:
    refused(like(source='{"a":' * depth + "1" + "}" * depth))
    refused(like(source="[" * depth + "]" * depth))


UNKNOWN = {f"x{n}": 1 for n in range(90_000)}


@pytest.mark.parametrize(
    ("body", "first", "count"),
    [
        (LIKE | UNKNOWN, "x0", 90_000),
        ({"events": [LIKE, LIKE | UNKNOWN]}, "events.1.x0", 90_000),
        ({"events": [LIKE]} | UNKNOWN, "x0", 90_000),
        ({"events": [LIKE | dict.fromkeys(list(UNKNOWN)[:90], 1)] * 1_000}, "events.0.x0", 90_000),
        ({"events": [{name: [] for name in LIKE}] * 1_000}, "events.0.user_id", 3_000),
        ({"events": [1] * 1_000}, "events.0", 1_000),
        ({"events": UNKNOWN}, "events", 1),
        (LIKE | {"source": UNKNOWN}, "source", 1),
        (LIKE | {"source": [{}] * 200_000}, "source", 1),
        ({"events": [1] * 300_000}, "events", 1),
        ({"events": []}, "events", 1),
        ({"events": {}}, "events", 1),
        ({"x" * 1_000_000: 1}, "user_id", 4),
    ],
)
def test_with_very_many_errors_the_first_are_named_and_all_are_counted_quickly(
    body: Any, first: str, count: int
) -> None:
    raw = json.dumps(body).encode()
    start = time.process_time()
    with pytest.raises(ProblemError) as error:
        parse(raw)
    assert time.process_time() - start < 0.25
    assert error.value.errors[0].field == first
    assert len(error.value.errors) == min(count, 20)
    assert (f"and {count - 1} more" in error.value.detail) == (count > 1)
    assert len(error.value.problem("id").model_dump_json()) < 20_000


def test_errors_of_known_and_unknown_fields_are_reported_together() -> None:
    error = refused({"events": [LIKE, LIKE | {"item_id": 0, "surprise": 1, "more": 2}]})
    assert {e.field for e in error.errors} == {"events.1.item_id", "events.1.surprise", "events.1.more"}

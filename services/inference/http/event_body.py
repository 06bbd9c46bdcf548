"""Parses the body of POST /v1/events in bounded time; large bodies are parsed in a thread, off the event loop."""

import json
from collections.abc import Callable
from http import HTTPStatus
from itertools import islice
from typing import Any

import pydantic_core
from fastapi import Request
from pydantic import ValidationError

from services.contracts.events import MAX_EVENTS_PER_REQUEST, EventIn, from_json
from services.contracts.rest import EventsIn, FieldError
from services.inference.http.bulkheads import Bulkhead
from services.inference.http.problems import MAX_ERRORS, ProblemError, field_errors, invalid, invalid_fields, shortened
from services.inference.http.request_guard import body_refusal

MAX_BODY_BYTES = 1 << 20
_AT_ONCE_BYTES = 8 << 10
"""Up to this size parsing takes less time than handing over to a thread."""
_KNOWN = frozenset(EventIn.model_fields)


async def read_events(request: Request, bodies: Bulkhead) -> tuple[list[EventIn], str]:
    """Return what `parse` does.

    Raises:
        ProblemError: 413, 415, 422, or 503 when too many large bodies wait to be read.
    """
    if (refusal := body_refusal(request.scope, required=True)) is not None:
        raise refusal
    body = await _body(request)
    return parse(body) if len(body) <= _AT_ONCE_BYTES else await bodies.run(parse, body)


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise ProblemError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body is larger than {MAX_BODY_BYTES} bytes; nothing was published.",
                errors=[FieldError(field="body", message=f"is larger than {MAX_BODY_BYTES} bytes")],
            )
        chunks.append(chunk)
    return b"".join(chunks)


def parse(body: bytes) -> tuple[list[EventIn], str]:
    """Return a body's events and the prefix of their fields' names: the body is one event, or {"events": […]}.

    Raises:
        ProblemError: 422 that names the first wrong fields and counts the others.
    """
    raw = _object(body)
    is_batch = "events" in raw
    events = raw["events"] if is_batch else [raw]
    if is_batch and isinstance(events, list) and not 0 < len(events) <= MAX_EVENTS_PER_REQUEST:
        raise invalid("events", f"must be 1 to {MAX_EVENTS_PER_REQUEST} events, not {len(events)}")
    # Reject oversized input before pydantic, which makes an error for each unknown field, and before the
    # decoder below: both would hold the interpreter for too long with a hundred thousand of them.
    if len(raw) > len(_KNOWN) or not isinstance(events, list) or not all(map(_may_be_right, events)):
        raise _first_errors(raw, is_batch)
    _UNIQUE.decode(body.decode())
    try:
        if is_batch:
            return from_json(EventsIn, body, None).events, "events."
        return [from_json(EventIn, body, None)], ""
    except ValidationError as error:
        if error.error_count() > MAX_ERRORS:
            raise _first_errors(raw, is_batch) from None
        raise invalid_fields(_errors_of(error, "")) from error


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = pydantic_core.from_json(body)
    except ValueError as error:
        raise invalid("body", f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise invalid("body", 'must be an object: one event, or {"events": [...]}')
    return raw


def _refuse_repetition(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise invalid(shortened(twice), "is given more than once")


_UNIQUE = json.JSONDecoder(object_pairs_hook=_refuse_repetition, parse_int=len, parse_float=len, parse_constant=len)
"""Finds duplicate names in objects, of which parsers silently take one. The JSON is known to be valid."""


def _may_be_right(event: Any) -> bool:
    return (
        isinstance(event, dict)
        and len(event) <= len(_KNOWN)
        and not any(isinstance(value, (dict, list)) for value in event.values())
    )


class _Findings:
    """The first errors in order, and the total number."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.count = 0

    def add(self, count: int, first: Callable[[], list[FieldError]]) -> None:
        """Count ``count`` errors; ``first`` supplies them while there is room."""
        self.count += count
        room = MAX_ERRORS - len(self.errors)
        if room > 0 and count:
            self.errors += first()[:room]


def _first_errors(raw: dict[str, Any], is_batch: bool) -> ProblemError:
    findings = _Findings()
    if not is_batch:
        _look_at(raw, "", findings)
    else:
        _note_unknown(raw, frozenset({"events"}), "", findings)
        if isinstance(raw["events"], list):
            for index, event in enumerate(raw["events"]):
                _look_at(event, f"events.{index}.", findings)
        else:
            findings.add(1, lambda: [FieldError(field="events", message="must be a list")])
    return invalid_fields(findings.errors, uncounted=findings.count - len(findings.errors))


def _look_at(event: Any, prefix: str, findings: _Findings) -> None:
    if isinstance(event, dict):
        _note_unknown(event, _KNOWN, prefix, findings)
        event = {name: event[name] for name in event.keys() & _KNOWN}
    try:
        from_json(EventIn, pydantic_core.to_json(event, inf_nan_mode="constants"), None)
    except ValidationError as error:
        problem = error  # `error` itself ends with the block
        findings.add(error.error_count(), lambda: _errors_of(problem, prefix))


def _note_unknown(raw: dict[str, Any], known: frozenset[str], prefix: str, findings: _Findings) -> None:
    def first() -> list[FieldError]:
        names = islice((name for name in raw if name not in known), MAX_ERRORS)
        return [FieldError(field=prefix + shortened(name), message="is not a known field") for name in names]

    findings.add(len(raw) - len(raw.keys() & known), first)


def _errors_of(error: ValidationError, prefix: str) -> list[FieldError]:
    found = field_errors(error.errors(include_url=False, include_input=False))
    if not prefix:
        return found
    return [
        FieldError(field=prefix.removesuffix(".") if e.field == "body" else prefix + e.field, message=e.message)
        for e in found
    ]

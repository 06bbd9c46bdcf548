"""POST /v1/events: the one way in for feedback. All of a request's events are published, or none."""

from collections.abc import Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

import pydantic_core
from fastapi import APIRouter, Request, status
from pydantic import ValidationError

from services.common import tracing
from services.contracts.events import TOO_FAR_AHEAD, EventIn, from_json, is_too_far_ahead
from services.contracts.rest import (
    EventAccepted,
    EventsAccepted,
    EventsIn,
    FieldError,
    Problem,
    PublishProblem,
    UnconfirmedEvent,
)
from services.inference.dependencies import Services, ServicesDep, refuse_erased
from services.inference.event_publisher import Published, QueueFullError
from services.inference.openapi import EVENTS_BODY, problems
from services.inference.problems import ProblemError, field_errors, invalid, invalid_fields
from services.inference.request_context import trace_of
from services.inference.tracing import kafka_headers

router = APIRouter(prefix="/v1/events", tags=["feedback"])
MAX_BODY_BYTES = 1 << 20
_RETRY_AFTER_SECONDS = 2


class UnconfirmedError(ProblemError):
    """Some events were not acknowledged in time: stored or not, nobody knows yet."""

    def __init__(self, results: Sequence[Published]) -> None:
        self.unconfirmed = [
            UnconfirmedEvent(index=i, event_id=r.event.event_id, event_time=r.event.event_time)
            for i, r in enumerate(results)
            if r.offset is None
        ]
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"Kafka has not acknowledged {len(self.unconfirmed)} of {len(results)} events in time. They may still"
            " arrive: send them again with the event_id listed, then each counts once.",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )

    def problem(self, request_id: str | None) -> Problem:
        """Return the document with the events to send again."""
        return PublishProblem(**super().problem(request_id).model_dump(), unconfirmed=self.unconfirmed)


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=EVENTS_BODY,
    responses=problems(HTTPStatus.SERVICE_UNAVAILABLE, model=PublishProblem)
    | problems(HTTPStatus.GONE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
)
async def publish(request: Request, services: ServicesDep) -> EventsAccepted:
    """Publish one event or up to 1,000; answered once the broker has acknowledged every one.

    The viewer's next list from this replica follows them already.
    """
    events, prefix = parse(await _body(request))
    await _check(services, events, prefix)
    try:
        with tracing.span("publish", trace_of(request), kind="producer") as place:
            results = await services.events.publish(events, kafka_headers(request, place))
    except QueueFullError as error:
        raise ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Kafka is slower than its clients; nothing was sent.",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        ) from error
    accepted = []
    for result in results:
        if result.partition is not None and result.offset is not None:
            services.live.apply(result.event)
            accepted.append(
                EventAccepted(
                    event_id=result.event.event_id,
                    event_time=result.event.event_time,
                    action=result.event.action,
                    partition=result.partition,
                    offset=result.offset,
                )
            )
    if len(accepted) < len(results):
        raise UnconfirmedError(results)
    return EventsAccepted(accepted=accepted)


def parse(body: bytes) -> tuple[list[EventIn], str]:
    """Return a body's events and what to put before a field's name: the body is one event, or {"events": […]}.

    Raises:
        ProblemError: 422 that names each wrong field.
    """
    try:
        raw: Any = pydantic_core.from_json(body)
    except ValueError as error:
        raise invalid("body", f"is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise invalid("body", 'must be an object: one event, or {"events": [...]}')
    try:
        if "events" in raw:
            return from_json(EventsIn, body, None).events, "events."
        return [from_json(EventIn, body, None)], ""
    except ValidationError as error:
        raise invalid_fields(field_errors(error.errors(include_url=False, include_input=False))) from error


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


async def _check(services: Services, events: Sequence[EventIn], prefix: str) -> None:
    """Raise the 422 (or 410) that names every field which the catalogue, the clock or another event contradicts."""
    unknown = await services.catalogue.unknown(event.item_id for event in events)
    now = datetime.now(timezone.utc)
    errors = []
    first_with_id: dict[object, int] = {}
    for index, event in enumerate(events):
        where = f"{prefix}{index}." if prefix else ""
        refuse_erased(services, event.user_id, f"{where}user_id")
        if event.item_id in unknown:
            errors.append(FieldError(field=f"{where}item_id", message=f"there is no film {event.item_id}"))
        if event.event_time is not None and is_too_far_ahead(event.event_time, now):
            errors.append(FieldError(field=f"{where}event_time", message=TOO_FAR_AHEAD))
        if event.event_id is not None and first_with_id.setdefault(event.event_id, index) != index:
            message = f"is that of events.{first_with_id[event.event_id]} too"
            errors.append(FieldError(field=f"{where}event_id", message=message))
    if errors:
        raise invalid_fields(errors)

"""POST /v1/events: the only entrance for feedback. All of a request's events are published, or none."""

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from http import HTTPStatus

from fastapi import APIRouter, Request, status
from opentelemetry.trace import SpanKind

from services.common import tracing
from services.contracts.events import CLOCK_SKEW_SECONDS, MAX_CLOCK_AHEAD_SECONDS, EventIn, is_too_far_ahead
from services.contracts.rest import (
    EventAccepted,
    EventsAccepted,
    FieldError,
    Problem,
    PublishProblem,
    UnconfirmedEvent,
)
from services.inference.events.publisher import Published, QueueFullError
from services.inference.http.dependencies import Services, ServicesDep, refuse_erased
from services.inference.http.event_body import read_events
from services.inference.http.openapi import EVENTS_BODY, problems
from services.inference.http.parameters import StrictRoute
from services.inference.http.problems import ProblemError, invalid_fields
from services.inference.http.request_context import kafka_headers, trace_of

router = APIRouter(prefix="/v1/events", tags=["feedback"], route_class=StrictRoute)
_RETRY_AFTER_SECONDS = 2
_CLOCK_SKEW = timedelta(seconds=CLOCK_SKEW_SECONDS)
_AHEAD = f"is more than {MAX_CLOCK_AHEAD_SECONDS - CLOCK_SKEW_SECONDS} s ahead of the service's clock"


class UnconfirmedError(ProblemError):
    """Some events were not acknowledged in time; they may or may not be stored."""

    def __init__(self, results: Sequence[Published]) -> None:
        self.unconfirmed = [
            UnconfirmedEvent(index=i, event_id=r.event.event_id, event_time=r.event.event_time)
            for i, r in enumerate(results)
            if r.offset is None
        ]
        super().__init__(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"Kafka has not acknowledged {len(self.unconfirmed)} of {len(results)} events in time. They may still"
            " arrive. Send them again with the event_id listed; each counts once.",
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
    | problems(HTTPStatus.GONE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
)
async def publish(request: Request, services: ServicesDep) -> EventsAccepted:
    """Publish one event or up to 1,000; answers once the broker has acknowledged all of them.

    The viewer's next list from this replica reflects them.
    """
    events, prefix = await read_events(request, services.bodies)
    await _check(services, events, prefix)
    try:
        with services.publishing.slot(), tracing.span("publish", trace_of(request), kind=SpanKind.PRODUCER) as place:
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


async def _check(services: Services, events: Sequence[EventIn], prefix: str) -> None:
    """Raise the 422 (or 410) that names every unknown film, time too far ahead and duplicate id."""
    unknown = await services.catalogue.unknown(event.item_id for event in events)
    now = datetime.now(timezone.utc)
    errors = []
    first_with_id: dict[object, int] = {}
    for index, event in enumerate(events):
        where = f"{prefix}{index}." if prefix else ""
        refuse_erased(services, event.user_id, f"{where}user_id")
        if event.item_id in unknown:
            errors.append(FieldError(field=f"{where}item_id", message=f"there is no film {event.item_id}"))
        if event.event_time is not None and is_too_far_ahead(event.event_time, now - _CLOCK_SKEW):
            errors.append(FieldError(field=f"{where}event_time", message=_AHEAD))
        if event.event_id is not None and first_with_id.setdefault(event.event_id, index) != index:
            message = f"is also the id of events.{first_with_id[event.event_id]}"
            errors.append(FieldError(field=f"{where}event_id", message=message))
    if errors:
        raise invalid_fields(errors)

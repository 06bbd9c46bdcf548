"""Every call to the REST API, typed. Pages call this and nothing else."""

import logging
import re
import time
from typing import TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from services.contracts.events import EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.logs import log_context
from services.contracts.rest import (
    EventAccepted,
    EventsAccepted,
    History,
    Item,
    ItemList,
    ItemSearch,
    ModelInfo,
    Problem,
    Recommendations,
)
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT, begin_trace
from ui.errors import RefusedError, ServiceDownError, UnexpectedAnswerError
from ui.metrics import Outcome, observe

log = logging.getLogger(__name__)
Answer = TypeVar("Answer", bound=BaseModel)
EVENT_ATTEMPTS = 3
PAUSE_SECONDS = 0.2
_ID = re.compile(r"\{\w+_id\}")


class RecommenderClient:
    """The REST API at ``base_url``; may be shared between threads. Every method blocks until the answer or a timeout.

    Raises (all methods):
        ServiceDownError: no answer in time, or 5xx.
        RefusedError: 4xx.
        UnexpectedAnswerError: a body that the contract does not know.
    """

    def __init__(self, base_url: str, timeout_seconds: float = 10) -> None:
        self._timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            timeout=httpx.Timeout(timeout_seconds, connect=min(3.0, timeout_seconds)),
            headers={"User-Agent": "movierecs-ui"},
        )

    def recommendations(self, user: UserId, k: int, genre: str | None = None) -> Recommendations:
        """Return the viewer's list, best first; what they have seen is left out."""
        return self._get(Recommendations, "/v1/users/{user_id}/recommendations", user, k=k, genre=genre)

    def popular(self, k: int, genre: str | None = None) -> ItemList:
        """Return what most viewers like, the most liked first."""
        return self._get(ItemList, "/v1/items/popular", None, k=k, genre=genre)

    def similar(self, item: ItemId, k: int) -> ItemList:
        """Return the films nearest to ``item``, nearest first, itself left out."""
        return self._get(ItemList, "/v1/items/{item_id}/similar", item, k=k)

    def item(self, item: ItemId) -> Item:
        """Return one film of the catalogue."""
        return self._get(Item, "/v1/items/{item_id}", item)

    def search(self, query: str, k: int) -> list[Item]:
        """Return the films whose titles match, best match first."""
        return self._get(ItemSearch, "/v1/items", None, query=query, k=k).items

    def history(self, user: UserId, limit: int) -> History:
        """Return what the viewer said, latest first."""
        return self._get(History, "/v1/users/{user_id}/history", user, limit=limit)

    def model(self) -> ModelInfo:
        """Return what is served now."""
        return self._get(ModelInfo, "/v1/models/current", None)

    def send(self, event: EventIn) -> EventAccepted:
        """Send one event; returns once the broker has it, so the next list reflects it.

        Tried again when the service is away for a moment. The event must carry its ``event_id``, so
        that it counts once however often it arrives, and its ``event_time``, so that a late copy does not overtake
        what the viewer did next.
        """
        if event.event_id is None or event.event_time is None:
            raise ValueError("an event that may be sent twice needs its id and its time")
        body = event.model_dump(mode="json", exclude_none=True)
        started = time.monotonic()
        for attempt in range(1, EVENT_ATTEMPTS + 1):
            try:
                return self._call(EventsAccepted, "POST", "/v1/events", json=body).accepted[0]
            except ServiceDownError:
                # A viewer waits for this: a slow failure is not repeated.
                if attempt == EVENT_ATTEMPTS or time.monotonic() - started > self._timeout_seconds / 2:
                    raise
                time.sleep(PAUSE_SECONDS * attempt)
        raise AssertionError("unreachable")

    def _get(self, model: type[Answer], route: str, id_: int | None, **query: str | int | None) -> Answer:
        params = {name: value for name, value in query.items() if value is not None}
        return self._call(model, "GET", route, id_, params=params)

    def _call(
        self,
        model: type[Answer],
        method: str,
        route: str,
        id_: int | None = None,
        *,
        params: dict[str, str | int] | None = None,
        json: object = None,
    ) -> Answer:
        """Ask `route`, in whose path a part like ``{user_id}`` stands for `id_`; every call is measured and logged."""
        outcome, started = Outcome.UNAVAILABLE, time.perf_counter()
        # A click is rare, and worth following: its trace is sampled.
        (trace_id, traceparent), request_id = begin_trace(), str(uuid4())
        headers = {TRACEPARENT: traceparent, REQUEST_ID_HEADER: request_id}
        try:
            answer = self._http.request(method, _ID.sub(str(id_), route), params=params, json=json, headers=headers)
            if answer.is_error:
                problem = _problem(answer)
                if answer.is_server_error:
                    raise ServiceDownError(problem.detail)
                outcome = Outcome.REFUSED
                raise RefusedError(problem)
            outcome = Outcome.UNEXPECTED
            parsed = model.model_validate_json(answer.content)
        except httpx.TimeoutException as error:
            raise ServiceDownError("The recommender takes too long to answer.") from error
        except httpx.HTTPError as error:
            raise ServiceDownError("The recommender cannot be reached.") from error
        except ValidationError as error:
            raise UnexpectedAnswerError(f"{route} did not answer as expected.") from error
        else:
            outcome = Outcome.OK
            return parsed
        finally:
            seconds = time.perf_counter() - started
            observe(route, outcome, seconds)
            with log_context(trace_id=trace_id, request_id=request_id):
                log.info(
                    "asked the API",
                    extra={"route": route, "method": method, "outcome": outcome.value, "ms": round(seconds * 1000, 2)},
                )


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return Problem(
            title=answer.reason_phrase,
            status=answer.status_code,
            detail=f"The service answered {answer.status_code} {answer.reason_phrase}.",
        )

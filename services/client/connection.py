"""One call: its headers, its time-out, its answer as a model of the contract, its failure as one of `errors`."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

import httpx
from pydantic import BaseModel, ValidationError

from services.client.errors import (
    ApiError,
    Outcome,
    RefusedError,
    ServiceDownError,
    UnexpectedAnswerError,
    UnreachableError,
)
from services.contracts.rest import Problem
from services.contracts.trace import REQUEST_ID_HEADER, TRACEPARENT, begin_trace

Answer = TypeVar("Answer", bound=BaseModel)
CONNECT_SECONDS = 3.0
SHOWN_AT_MOST = 500
"""Characters of an answer that go into an error's `reason`."""
_ID = re.compile(r"\{\w+_id\}")


@dataclass(frozen=True)
class Call:
    """A finished call, successful or not."""

    method: str
    route: str
    """The path's template, such as ``/v1/items/{item_id}``."""
    outcome: Outcome
    seconds: float
    request_id: str
    trace_id: str


class Connection:
    """Calls to the API at one address; may be shared between threads.

    Args:
        base_url: of the API.
        agent: the caller's name, sent as the header `User-Agent`.
        timeout_seconds: how long to wait for an answer; at most `CONNECT_SECONDS` of it for the connection.
        keep_alive: False opens a connection for each call, as separate viewers would, so that a load balancer
            picks a replica for each.
        on_call: called after every call; each call then starts a sampled trace. Without it no traces are started.
    """

    def __init__(
        self,
        base_url: str,
        *,
        agent: str,
        timeout_seconds: float,
        keep_alive: bool,
        on_call: Callable[[Call], None] | None,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._http = httpx.Client(
            base_url=base_url.rstrip("/"),
            timeout=httpx.Timeout(timeout_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)),
            limits=httpx.Limits(max_keepalive_connections=None if keep_alive else 0),
            headers={"User-Agent": agent},
        )
        self._on_call = on_call

    def get(self, kind: type[Answer], route: str, id_: int | None = None, **query: str | int | None) -> Answer:
        """Ask for a `kind`. Blocks until the answer or a time-out.

        Args:
            kind: the answer's model.
            route: the path template; `id_` replaces a part like ``{user_id}``.
            id_: the viewer's or the film's.
            query: parameters; those that are None are not sent, so the service uses its defaults.

        Raises:
            ServiceDownError: 5xx, or (UnreachableError) no answer.
            RefusedError: 4xx.
            UnexpectedAnswerError: the answer is not a valid `kind`.
        """
        return self._call(kind, "GET", route, id_, query={name: v for name, v in query.items() if v is not None})

    def post(self, kind: type[Answer], route: str, body: BaseModel) -> Answer:
        """Send `body` without the fields that are None. Blocks and raises as `get`."""
        return self._call(kind, "POST", route, body=body.model_dump_json(exclude_none=True))

    def _call(
        self,
        kind: type[Answer],
        method: str,
        route: str,
        id_: int | None = None,
        *,
        query: dict[str, str | int] | None = None,
        body: str | None = None,
    ) -> Answer:
        trace_id, traceparent = begin_trace()
        request_id = str(uuid4())
        headers = {TRACEPARENT: traceparent, REQUEST_ID_HEADER: request_id} if self._on_call else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = self._http.build_request(
            method, _ID.sub(str(id_), route), params=query, content=body, headers=headers
        )
        outcome, started = Outcome.OK, time.perf_counter()
        try:
            return self._answer(kind, request, route)
        except ApiError as error:
            outcome = error.outcome
            raise
        finally:
            if self._on_call:
                seconds = time.perf_counter() - started
                self._on_call(Call(method, route, outcome, seconds, request_id, trace_id))

    def _answer(self, kind: type[Answer], request: httpx.Request, route: str) -> Answer:
        asked = f"{request.method} {route} at {request.url.netloc.decode()}"
        try:
            answer = self._http.send(request)
        except httpx.TimeoutException as error:
            raise UnreachableError("The recommender takes too long to answer.", f"{asked}: {error!r}") from error
        except httpx.TransportError as error:
            raise UnreachableError("The recommender cannot be reached.", f"{asked}: {error!r}") from error
        except httpx.HTTPError as error:
            raise UnexpectedAnswerError(f"{route} did not answer as expected.", f"{asked}: {error!r}") from error
        if answer.is_success:
            try:
                return kind.model_validate_json(answer.content)
            except ValidationError as error:
                saw = f"{asked}: {answer.text[:SHOWN_AT_MOST]!r} is not a valid {kind.__name__}"
                raise UnexpectedAnswerError(f"{route} did not answer as expected.", saw) from error
        saw = f"{asked}: {answer.status_code} {answer.text[:SHOWN_AT_MOST]}"
        if answer.is_server_error:
            raise ServiceDownError(_problem(answer).detail, saw)
        if answer.is_client_error:
            raise RefusedError(_problem(answer), saw)
        raise UnexpectedAnswerError(f"{route} did not answer as expected.", saw)


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return Problem(
            title=answer.reason_phrase,
            status=answer.status_code,
            detail=f"The service answered {answer.status_code} {answer.reason_phrase}.",
        )

"""Errors as clients see them: RFC 9457 problems, raised anywhere below the routes and rendered here."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from services.contracts.rest import PROBLEM_MEDIA_TYPE, FieldError, Problem
from services.inference.http.request_context import request_id_of

log = logging.getLogger(__name__)

MAX_ERRORS = 20
_SHOWN = 100


class ProblemError(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.retry_after_seconds = retry_after_seconds

    def problem(self, request_id: str | None) -> Problem:
        """Return the document; subclasses add to it."""
        return Problem(
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
        )


def invalid(field: str, message: str) -> ProblemError:
    """Return the 422 for one wrong field."""
    return invalid_fields([FieldError(field=field, message=message)])


def invalid_fields(errors: Sequence[FieldError], uncounted: int = 0) -> ProblemError:
    """Return the 422 that names the first `MAX_ERRORS` invalid fields and counts the rest.

    Args:
        errors: at least one.
        uncounted: how many more were found than ``errors`` holds.
    """
    first = errors[0]
    others = len(errors) - 1 + uncounted
    more = f" (and {others} more)" if others else ""
    return ProblemError(
        HTTPStatus.UNPROCESSABLE_ENTITY, f"{first.field}: {first.message}{more}", errors=errors[:MAX_ERRORS]
    )


def shortened(text: str) -> str:
    """Return a client's text for a message, shortened.

    >>> len(shortened("x" * 10_000))
    101
    """
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Translate pydantic's errors; a field is the dotted path into the body, or the parameter's name.

    >>> field_errors([{"loc": ("body", "events", 3, "item_id"), "msg": "Field required"}])
    [FieldError(field='events.3.item_id', message='Field required')]
    """
    result = []
    for error in errors:
        location = error["loc"]
        path = location[1:] if location and location[0] in {"body", "query", "path", "header"} else location
        message = str(error["msg"]).removeprefix("Value error, ")
        result.append(FieldError(field=shortened(".".join(map(str, path))) or "body", message=message))
    return result


def respond(problem: Problem, *, retry_after_seconds: int | None = None) -> Response:
    """Return the response that carries the document."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return Response(problem.model_dump_json(), problem.status, headers, PROBLEM_MEDIA_TYPE)


def internal_error(request_id: str | None) -> Response:
    """Return the 500; details are in the log under the request's id, never in the answer."""
    return respond(
        ProblemError(
            HTTPStatus.INTERNAL_SERVER_ERROR, "An unexpected error; the service's log has it under the request id."
        ).problem(request_id)
    )


def install(app: FastAPI) -> None:
    """Make every error of the app a problem document."""

    @app.exception_handler(ProblemError)
    async def _problem(request: Request, error: ProblemError) -> Response:
        return respond(error.problem(request_id_of(request)), retry_after_seconds=error.retry_after_seconds)

    @app.exception_handler(RequestValidationError)
    async def _invalid_parameters(request: Request, error: RequestValidationError) -> Response:
        return respond(invalid_fields(field_errors(error.errors())).problem(request_id_of(request)))

    @app.exception_handler(ValidationError)
    async def _invalid_answer(request: Request, error: ValidationError) -> Response:
        log.error("an answer did not fit its own model", exc_info=error)
        return internal_error(request_id_of(request))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status is HTTPStatus.NOT_FOUND:
            detail = f"There is no route {shortened(request.scope['path'])}."
        elif status is HTTPStatus.METHOD_NOT_ALLOWED:
            detail = f"{request.method} is not allowed here."
        else:
            detail = str(error.detail)
        response = respond(ProblemError(status, detail).problem(request_id_of(request)))
        response.headers.update(error.headers or {})
        if response.headers.get("Allow") == "GET":
            response.headers["Allow"] = "GET, HEAD"
        return response

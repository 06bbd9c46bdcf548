"""The application: routes, error handlers, middleware and lifespan."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError
from fastapi import FastAPI, Request, Response
from fastapi.telemetry import TelemetryConfig

from services.contracts.origin_guard import OriginGuard
from services.inference.http import docs, openapi, problems
from services.inference.http.dependencies import Services
from services.inference.http.problems import ProblemError
from services.inference.http.request_context import RequestContext, request_id_of
from services.inference.http.request_guard import RequestGuard
from services.inference.http.routes import events, health, items, models, users
from services.inference.recommend.request import UnknownChoiceError
from services.inference.recommend.service import NoCatalogueError, NoModelError

DESCRIPTION = """Feedback in, lists out. A like changes the viewer's next list at once.
Errors are `application/problem+json` (RFC 9457) and name the fields that were wrong."""
_RETRY_AFTER_SECONDS = 5
_NO_SECOND_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own telemetry would duplicate `RequestContext`'s, with query strings."""


def create_app(
    services: Services, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]], guard: OriginGuard
) -> FastAPI:
    """Return the application; ``lifespan`` starts and stops the background tasks."""
    app = FastAPI(
        title="MovieRecs",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        telemetry=_NO_SECOND_TELEMETRY,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=docs.OPENAPI_URL,
    )
    app.state.services = services
    for module in (users, items, events, models, health, docs):
        app.include_router(module.router)
    problems.install(app)
    _install_absences(app)
    app.add_exception_handler(UnknownChoiceError, _unknown_choice)
    openapi.install(app)
    app.add_middleware(RequestGuard, guard=guard)
    app.add_middleware(RequestContext, metrics=services.metrics, on_error=problems.internal_error)
    return app


async def _unknown_choice(request: Request, error: Exception) -> Response:
    assert isinstance(error, UnknownChoiceError)
    return problems.respond(problems.invalid(error.field, str(error)).problem(request_id_of(request)))


def _install_absences(app: FastAPI) -> None:
    """Answer 503 when something that a route needs is unavailable."""
    reasons: dict[type[Exception], str] = {
        NoModelError: "No model has been loaded yet.",
        NoCatalogueError: "The catalogue has not been read yet.",
        psycopg.OperationalError: "PostgreSQL does not answer.",
        ClickHouseError: "ClickHouse does not answer.",
    }
    for kind, reason in reasons.items():
        app.add_exception_handler(kind, _absence(reason))


def _absence(reason: str):  # type: ignore[no-untyped-def]
    async def answer(request: Request, error: Exception) -> Response:
        problem = ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, reason).problem(request_id_of(request))
        return problems.respond(problem, retry_after_seconds=_RETRY_AFTER_SECONDS)

    return answer

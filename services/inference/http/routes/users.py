"""One viewer: list, history, export, erasure."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request

from services.common import tracing
from services.contracts.ids import PROBE_USER, UserId
from services.contracts.rest import DEFAULT_K, Erased, History, Recommendations, UserExport
from services.inference.http.dependencies import (
    AdminOnly,
    ErasableUserIdPath,
    Genre,
    K,
    ServicesDep,
    UserIdPath,
    viewer,
)
from services.inference.http.openapi import problems
from services.inference.http.parameters import DIGITS, StrictRoute
from services.inference.http.problems import ProblemError
from services.inference.http.request_context import kafka_headers, trace_of
from services.inference.http.request_guard import is_head
from services.inference.recommend.request import ListRequest

router = APIRouter(prefix="/v1/users", tags=["viewers"], route_class=StrictRoute)
_HISTORY_LIMIT = 1_000


@router.get("/{user_id}/recommendations", responses=problems(HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE))
def recommendations(
    user_id: UserIdPath,
    services: ServicesDep,
    request: Request,
    *,
    k: K = DEFAULT_K,
    genre: Genre = None,
    model: Annotated[
        str | None, Query(max_length=32, description="A model of the served bundle, by name.", examples=["als"])
    ] = None,
) -> Recommendations:
    """Films for the viewer, best first, without those already seen. Reflects the latest feedback at once."""
    user = viewer(services, user_id)
    asked = ListRequest(
        user, k, genre, model,
        is_shown=user != PROBE_USER and not is_head(request.scope),
        headers=kafka_headers(request, trace_of(request)),
    )  # fmt: skip
    return services.recommendations.recommend(asked, ranking=tracing.span("rank", trace_of(request)))


@router.get("/{user_id}/history", responses=problems(HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE))
def history(
    user_id: UserIdPath,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=_HISTORY_LIMIT, description="How many films at most."), DIGITS] = 100,
) -> History:
    """The viewer's feedback, latest first: the model's data and everything since."""
    return services.recommendations.history(viewer(services, user_id), limit)


@router.delete(
    "/{user_id}",
    dependencies=[AdminOnly],
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def erase(user_id: ErasableUserIdPath, services: ServicesDep) -> Erased:
    """Erase the viewer everywhere and for good. Idempotent; repeat it after a 503.

    From now on the viewer is refused and no list uses their data. The answer tells what is deleted later, and when.
    """
    return await services.admin.run(services.erasure.erase, UserId(user_id))


@router.get(
    "/{user_id}/erasure",
    dependencies=[AdminOnly],
    responses=problems(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def erasure(user_id: ErasableUserIdPath, services: ServicesDep) -> Erased:
    """The state of the viewer's erasure: what is pending, and until when."""
    found = await services.admin.run(services.erasure.erasure_of, UserId(user_id))
    if found is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"Viewer {user_id} was not erased.")
    return found


@router.get(
    "/{user_id}/export",
    dependencies=[AdminOnly],
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def export(user_id: UserIdPath, services: ServicesDep) -> UserExport:
    """Everything that is stored about the viewer."""
    return await services.admin.run(services.erasure.export, viewer(services, user_id))

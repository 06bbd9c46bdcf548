"""What concerns one viewer: their list, their history, their data."""

import time
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request

from services.common import tracing
from services.contracts.ids import PROBE_USER, ItemId, UserId
from services.contracts.impressions import Impression
from services.contracts.rest import DEFAULT_K, DEFAULT_VARIANT, Erased, History, Recommendations, UserExport
from services.inference.http.dependencies import (
    AdminOnly,
    ErasableUserIdPath,
    Genre,
    K,
    Services,
    ServicesDep,
    UserIdPath,
    viewer,
)
from services.inference.http.front_door import is_head
from services.inference.http.openapi import problems
from services.inference.http.parameters import DIGITS, StrictRoute
from services.inference.http.problems import ProblemError
from services.inference.http.request_context import kafka_headers, trace_of
from services.inference.http.routes.genres import genre_index
from services.inference.recommend.recommender import rank

router = APIRouter(prefix="/v1/users", tags=["viewers"], route_class=StrictRoute)
_HISTORY_LIMIT = 1_000


@router.get("/{user_id}/recommendations", responses=problems(HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE))
def recommendations(
    user_id: UserIdPath, services: ServicesDep, request: Request, k: K = DEFAULT_K, genre: Genre = None
) -> Recommendations:
    """Films for the viewer, best first, those already seen left out; it follows their latest signal at once."""
    start = time.perf_counter()
    user = viewer(services, user_id)
    moment = services.serving.moment(user)
    taste = services.serving.taste(user, moment)
    shelf = services.serving.shelf(moment.model)
    index = genre_index(shelf, genre)
    with tracing.span("rank", trace_of(request)):
        ranked = rank(shelf, taste, k, index)
    services.metrics.recommendation_seconds.labels(taste.strategy).observe(time.perf_counter() - start)
    answer = Recommendations(
        model_version=moment.model.version,
        items=services.serving.items(shelf, ranked),
        request_id=uuid4(),
        user_id=user,
        strategy=taste.strategy,
        variant=DEFAULT_VARIANT,
    )
    if user != PROBE_USER and not is_head(request.scope):  # else nobody sees the list
        services.metrics.lists_served.labels(taste.strategy, DEFAULT_VARIANT).inc()
        _record(services, answer, request)
    return answer


def _record(services: Services, answer: Recommendations, request: Request) -> None:
    services.impressions.publish(
        Impression(
            request_id=answer.request_id,
            user_id=answer.user_id,
            item_ids=[ItemId(item.id) for item in answer.items],
            strategy=answer.strategy,
            variant=answer.variant,
            model_version=answer.model_version,
            served_at=datetime.now(timezone.utc),
        ),
        kafka_headers(request, trace_of(request)),
    )


@router.get("/{user_id}/history", responses=problems(HTTPStatus.GONE, HTTPStatus.SERVICE_UNAVAILABLE))
def history(
    user_id: UserIdPath,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=_HISTORY_LIMIT, description="How many films at most."), DIGITS] = 100,
) -> History:
    """What the viewer said about films, latest first: the model's data and everything since."""
    user = viewer(services, user_id)
    total, entries = services.serving.history(user, limit)
    return History(user_id=user, total=total, entries=entries)


@router.delete(
    "/{user_id}",
    dependencies=[AdminOnly],
    responses=problems(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def erase(user_id: ErasableUserIdPath, services: ServicesDep) -> Erased:
    """Erase the viewer everywhere and for ever; safe to repeat, which after a 503 is what to do.

    From now on the viewer is refused, and no list uses their data. The answer says what is deleted later, and when.
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
    """What has become of the viewer's erasure: what is still pending, and until when."""
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

"""Health, readiness and metrics."""

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.contracts.rest import Liveness, Readiness
from services.inference.http.dependencies import ServicesDep
from services.inference.http.openapi import problems
from services.inference.http.parameters import StrictRoute

router = APIRouter(tags=["operations"], route_class=StrictRoute)


@router.get("/health/live", responses=problems())
async def live() -> Liveness:
    """The process answers."""
    return Liveness()


@router.get(
    "/health/ready",
    responses=problems()
    | {HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness, "description": "Not ready; `checks` says why."}},
)
async def ready(services: ServicesDep, response: Response) -> Readiness:
    """Ready: a model and the catalogue are loaded, and the topic was followed to its head once since the start."""
    model = services.store.current
    checks = {
        "model": model is not None,
        "catalogue": len(services.catalogue) > 0,
        "topic_followed_to_head": services.follower.caught_up,
    }
    is_ready = all(checks.values())
    response.status_code = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(
        ready=is_ready,
        checks=checks,
        details={
            "model_version": model and model.version,
            "model_refused": services.store.refused,
            "topic": services.follower.error,
            "history_gap": services.follower.gap,
            "postgres": services.notifications.error,
        },
    )


@router.get("/metrics", response_class=Response, responses=problems() | {200: {"content": {"text/plain": {}}}})
def metrics(services: ServicesDep) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(services.metrics.registry), media_type=CONTENT_TYPE_LATEST)

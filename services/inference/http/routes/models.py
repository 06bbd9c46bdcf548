"""The served model, and its reload."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi import Path as ApiPath
from fastapi.responses import HTMLResponse

from services.common.bundle import BundleError
from services.contracts.bundle import REPORT_HTML, REPORT_MARKDOWN
from services.contracts.rest import ModelInfo, Reloaded
from services.inference.history.topic_reader import ReplayError
from services.inference.http.dependencies import AdminOnly, ServicesDep
from services.inference.http.openapi import problems
from services.inference.http.parameters import StrictRoute
from services.inference.http.problems import ProblemError
from services.inference.models.store import NoChampionError

VERSION = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"

router = APIRouter(prefix="/v1/models", tags=["model"], route_class=StrictRoute)


@router.get("/current", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
def current(services: ServicesDep) -> ModelInfo:
    """The model that this replica serves."""
    served = services.recommendations.served()
    manifest = served.manifest
    return ModelInfo(
        version=served.version,
        stage=served.stage,
        created_at=manifest.created_at,
        loaded_at=served.loaded_at,
        code_revision=manifest.code_revision,
        users=len(served.user_ids),
        items=len(served.item_ids),
        models={name: model.kind for name, model in manifest.models.items()},
        default_model=manifest.default_model,
        metrics=manifest.metrics,
    )


@router.get(
    "/{version}/report",
    response_class=HTMLResponse,
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def report(
    services: ServicesDep,
    version: Annotated[str, ApiPath(pattern=VERSION, description="A version of the registry.")],
    format: Annotated[
        Literal["html", "markdown"], Query(description="A page with plots, or its tables alone.")
    ] = "html",
) -> Response:
    """How a version's models were measured before it was published, with intervals."""
    name, media_type = (REPORT_HTML, "text/html") if format == "html" else (REPORT_MARKDOWN, "text/markdown")
    text = await services.admin.run(services.store.document, version, name)
    if text is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"There is no report of a version {version}.")
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return Response(text, media_type=f"{media_type}; charset=utf-8", headers=headers)


@router.post(
    "/reload",
    dependencies=[AdminOnly],
    responses=problems(
        HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def reload(services: ServicesDep) -> Reloaded:
    """Serve the registry's champion now; answers once it is served. Requests continue meanwhile; none fails."""
    try:
        return await services.admin.run(services.store.reload)
    except NoChampionError as error:
        raise ProblemError(HTTPStatus.CONFLICT, f"Nothing to serve: {error}.") from error
    except BundleError as error:
        raise ProblemError(HTTPStatus.CONFLICT, f"The champion was refused: {error}.") from error
    except ReplayError as error:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, f"Not reloaded: {error}.", retry_after_seconds=2) from error

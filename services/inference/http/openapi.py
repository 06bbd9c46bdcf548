"""Parts of the OpenAPI description that FastAPI cannot derive: problems, and the body of POST /v1/events."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from services.contracts.events import EventIn
from services.contracts.rest import PROBLEM_MEDIA_TYPE, EventsIn, Problem, PublishProblem

_REF = "#/components/schemas/{model}"
_MEANING = {
    HTTPStatus.UNAUTHORIZED: "The admin key is missing.",
    HTTPStatus.FORBIDDEN: "The request comes from another site's page, or the admin key is wrong.",
    HTTPStatus.NOT_FOUND: "The film or the erasure does not exist.",
    HTTPStatus.CONFLICT: "The champion cannot be served; the previous model still is.",
    HTTPStatus.GONE: "The viewer was erased.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than 1 MiB.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not `application/json` in UTF-8, or it is encoded.",
    HTTPStatus.MISDIRECTED_REQUEST: "The `Host` is not a name of this server.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "The request is not valid; `errors` names each wrong field.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A dependency is unavailable; try again after `Retry-After` s.",
}

_EVERYWHERE = {HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}

EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"oneOf": [{"$ref": _REF.format(model=m)} for m in ("EventIn", "EventsIn")]},
                "examples": {
                    "one": {
                        "summary": "One event",
                        "value": {"user_id": 42, "item_id": 50, "action": "like", "source": "demo"},
                    },
                    "several": {
                        "summary": "Up to 1,000 events, all or none",
                        "value": {
                            "events": [
                                {"user_id": 42, "item_id": 50, "action": "rate", "value": 4.5},
                                {"user_id": 42, "item_id": 181, "action": "watch"},
                            ]
                        },
                    },
                },
            }
        },
    }
}


def problems(*statuses: HTTPStatus, model: type[Problem] = Problem) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer with these problems, and with those of every route."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {
        int(status): {"description": _MEANING[status], "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*statuses, *_EVERYWHERE})
    }


def install(app: FastAPI) -> None:
    """Describe the app completely; the description is made on first request."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes, tags=[]
            )
            models = [(model, "validation") for model in (EventIn, EventsIn, Problem, PublishProblem)]
            _, definitions = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
            schema["components"]["schemas"] |= definitions["$defs"]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]

"""Path and query parameters, parsed strictly and alike on every route.

Integers are plain decimal digits and booleans `true` or `false`: other forms that Python accepts (`4_2`, `1.0`, ` 42`,
`٤٢`, `yes`) are refused. So are duplicate and unknown parameters, and text that is not UTF-8.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator

from services.contracts.rest import FieldError
from services.inference.http.problems import invalid_fields, shortened

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_BOOLEANS = {"true": True, "false": False}


def _integer(value: Any) -> Any:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("must be an integer in decimal digits")
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, str) and value not in _BOOLEANS:
        raise ValueError("must be true or false")
    return value


# Goes after the parameter's bounds, or OpenAPI would lose them: `Annotated[int, Query(ge=1), DIGITS]`.
DIGITS = BeforeValidator(_integer)
TRUE_OR_FALSE = BeforeValidator(_boolean)


class StrictRoute(APIRoute):
    """A route that refuses unknown and duplicate query parameters."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler; requests without a query string pay nothing."""
        handle = super().get_route_handler()
        known = _query_names(self.dependant)

        async def handle_strictly(request: Request) -> Response:
            query = request.scope["query_string"]
            if query and (errors := query_errors(query, known)):
                raise invalid_fields(errors)
            return await handle(request)

        return handle_strictly


def _query_names(dependant: Dependant) -> set[str]:
    own = {parameter.alias for parameter in dependant.query_params}
    return own.union(*map(_query_names, dependant.dependencies))


def query_errors(query: bytes, known: set[str]) -> list[FieldError]:
    """Return what is wrong with a query string for a route that has the ``known`` parameters, each once.

    >>> query_errors(b"k=1&k=2", {"k"})
    [FieldError(field='k', message='is given more than once')]
    """
    errors: dict[str, str] = {}
    seen = set()
    for part in query.split(b"&"):
        if not part:
            continue
        raw_name, _, raw_value = (unquote_to_bytes(piece.replace(b"+", b" ")) for piece in part.partition(b"="))
        name = raw_name.decode(errors="replace")  # a name that is not UTF-8 is unknown
        if name not in known:
            errors.setdefault(name, "there is no such parameter")
        elif name in seen:
            errors.setdefault(name, "is given more than once")
        elif not _is_text(raw_value):
            errors.setdefault(name, "is not UTF-8")
        seen.add(name)
    return [FieldError(field=shortened(name) or "query string", message=text) for name, text in errors.items()]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True

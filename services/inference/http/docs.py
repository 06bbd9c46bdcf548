"""The interactive API documentation (/docs), served by this service alone, so that it works offline.

Swagger UI's files (Apache-2.0) come from the package `fastapi-offline`; nothing else of it is used.
"""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, Response
from starlette.responses import FileResponse, HTMLResponse

from services.inference.http.parameters import StrictRoute

OPENAPI_URL = "/openapi.json"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>MovieRecs API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
  <div id="swagger-ui"></div>
  <script src="/docs/swagger-ui-bundle.js"></script>
  <script src="/docs/start.js"></script>
</body>
</html>
"""
_START = f"""SwaggerUIBundle({{
  url: "{OPENAPI_URL}",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
}});
"""

router = APIRouter(prefix="/docs", route_class=StrictRoute, include_in_schema=False)


_ASSETS = Path(str(fastapi_offline.__file__)).parent / "static"


@router.get("")
async def page() -> Response:
    """The page."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"})


@router.get("/start.js")
async def start() -> Response:
    """The page's start script; a file of its own, because the content security policy forbids inline scripts."""
    return Response(_START, media_type="text/javascript")


@router.get("/swagger-ui-bundle.js")
async def script() -> Response:
    """Swagger UI."""
    return FileResponse(_ASSETS / "swagger-ui-bundle.js", media_type="text/javascript")


@router.get("/swagger-ui.css")
async def style() -> Response:
    """Its style."""
    return FileResponse(_ASSETS / "swagger-ui.css", media_type="text/css")

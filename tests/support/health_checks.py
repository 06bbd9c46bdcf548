"""What our programs answer to health checks, for the tests of what asks them: Compose and Kubernetes."""

from typing import Any, cast

import httpx
from prometheus_client import CollectorRegistry
from streamlit.web.server.starlette.starlette_routes import create_health_routes

from services.common import metrics_server
from services.inference.http.routes import health


def answers(service: str, path: str) -> bool:
    """Whether the program's own server answers a health check there."""
    match service:
        case "inference":
            return path in {getattr(route, "path", None) for route in health.router.routes}
        case "ui":
            return path in {getattr(route, "path", None) for route in create_health_routes(cast("Any", None), None)}
    server = metrics_server.serve(CollectorRegistry(), metrics_server.Heartbeat(), "127.0.0.1", 0)
    try:
        return httpx.get(f"http://127.0.0.1:{server.server_port}{path}").text == "ok\n"
    finally:
        server.shutdown()
        server.server_close()

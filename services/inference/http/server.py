"""uvicorn's configuration: one process, one port, limits per connection, no WebSockets."""

import uvicorn
from fastapi import FastAPI

from services.inference.http.limits import KEEP_ALIVE_SECONDS, LimitedProtocol

SHUTDOWN_SECONDS = 10


def server_config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    """Return uvicorn's configuration; the application logs and counts its requests itself."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        interface="asgi3",
        http=LimitedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )

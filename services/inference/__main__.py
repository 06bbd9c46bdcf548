"""`python -m services.inference`: one replica of the service, one process."""

import os
import signal
import sys

# Before NumPy is imported: several BLAS threads per request thread would slow all of them down many times.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import uvicorn  # noqa: E402

from services.common.telemetry import configure_logging  # noqa: E402
from services.common.tracing import configure_tracing  # noqa: E402
from services.inference.http.server import server_config  # noqa: E402
from services.inference.main import build  # noqa: E402
from services.inference.settings import InferenceSettings  # noqa: E402


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests in flight are answered first."""
    settings = InferenceSettings.from_environment()
    configure_logging("inference", settings.log_level)
    configure_tracing("inference")
    # After an orderly shutdown uvicorn raises the signal again for the previous handler; exit with status 0 instead.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    server = uvicorn.Server(server_config(build(settings), settings.inference_host, settings.inference_port))
    server.run()
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""``python -m ui [option of Streamlit …]``: the demo, with its metrics and its log from the start.

Streamlit runs the page only for the first visitor; Prometheus must find the metrics before.
"""

import contextlib
import signal
import sys
from pathlib import Path

from pydantic import ValidationError
from streamlit.web import cli

from ui import logs, metrics
from ui.settings import UiSettings


def main() -> None:
    """Serve the metrics, then run Streamlit until it ends."""
    with contextlib.suppress(ValidationError):  # the page shows what is wrong
        settings = UiSettings()
        logs.configure(settings.log_level)
        metrics.serve(settings.metrics_host, settings.ui_metrics_port, settings.host_names)
    # After an orderly shutdown the server raises the signal again; exit with status 0 instead.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: sys.exit(0))
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("page_server.py")), *sys.argv[1:]]
    cli.main(prog_name="streamlit")


if __name__ == "__main__":
    main()

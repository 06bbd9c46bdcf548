"""Looks at each part when it is due, whatever the stores do."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from services.common.metrics_server import Heartbeat
from services.contracts.metrics import DEPENDENCY_UP, EXPORTER_COLLECT_SECONDS, EXPORTER_LAST_SUCCESS
from services.exporter.dependency import Dependency
from services.exporter.gauges import Gauges, Samples

log = logging.getLogger(__name__)
_ITSELF = "exporter"


@dataclass
class Part:
    """Something to look at every `interval_seconds`."""

    name: str
    interval_seconds: float
    look: Callable[[], Samples]
    due: float = 0.0
    took_seconds: float = 0.0
    succeeded_at: float | None = None


class Loop:
    """Looks at one part after the other. What a part showed stays when a look fails; its age tells."""

    def __init__(self, parts: Sequence[Part], dependencies: Sequence[Dependency[Any]], gauges: Gauges) -> None:
        self._parts = parts
        self._dependencies = dependencies
        self._gauges = gauges

    def run(self, heartbeat: Heartbeat) -> NoReturn:
        """Look for ever."""
        while True:
            heartbeat.beat()
            self.turn()
            time.sleep(max(0.05, min(part.due for part in self._parts) - time.monotonic()))

    def turn(self) -> None:
        """Look at every part that is due; raises nothing that the stores do."""
        for part in self._parts:
            start = time.monotonic()
            if start < part.due:
                continue
            try:
                self._gauges.show(part.name, part.look())
                part.succeeded_at = time.time()
            except Exception as error:  # the dependency has said which store; here it is only how often
                log.debug("%s could not be looked at: %r", part.name, error)
            part.took_seconds = time.monotonic() - start
            part.due = start + max(part.interval_seconds, 2 * part.took_seconds)
            self._show_itself()

    def _show_itself(self) -> None:
        parts = self._parts
        self._gauges.show(
            _ITSELF,
            {
                DEPENDENCY_UP: {(d.name,): float(d.up) for d in self._dependencies if d.up is not None},
                EXPORTER_COLLECT_SECONDS: {(p.name,): p.took_seconds for p in parts if p.took_seconds},
                EXPORTER_LAST_SUCCESS: {(p.name,): p.succeeded_at for p in parts if p.succeeded_at is not None},
            },
        )

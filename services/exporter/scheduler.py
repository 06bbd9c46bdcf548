"""Collects each part when it is due, independent of the other parts."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from services.common.metrics_server import Heartbeat
from services.contracts.metrics import DEPENDENCY_UP, EXPORTER_COLLECT_SECONDS, EXPORTER_LAST_SUCCESS
from services.exporter.dependency import Dependency, NotFoundError
from services.exporter.gauges import Gauges, Samples

log = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 1.0
_ITSELF = "exporter"


@dataclass
class Part:
    """Something to collect every `interval_seconds`."""

    name: str
    interval_seconds: float
    collect: Callable[[], Samples]
    collecting_since: float | None = None
    due: float = 0.0
    took_seconds: float = 0.0
    succeeded_at: float | None = None


class Scheduler:
    """Collects every part on its own thread, so that none waits for another's store.

    After a failed collection a part's last samples stay; their age is a metric.
    """

    def __init__(self, parts: Sequence[Part], dependencies: Sequence[Dependency[Any]], gauges: Gauges) -> None:
        self._parts = parts
        self._dependencies = dependencies
        self._gauges = gauges
        self._lock = threading.Lock()

    def run(self, heartbeat: Heartbeat) -> NoReturn:
        """Collect for ever; the heartbeat stops when a collection takes over ``heartbeat.at_most_seconds``."""
        for part in self._parts:
            threading.Thread(target=self._follow, args=(part,), name=part.name, daemon=True).start()
        while True:
            now = time.monotonic()
            begun = [part.collecting_since for part in self._parts if part.collecting_since is not None]
            if all(now - since < heartbeat.at_most_seconds for since in begun):
                heartbeat.beat()
            time.sleep(HEARTBEAT_SECONDS)

    def _follow(self, part: Part) -> NoReturn:
        while True:
            self.collect(part)
            time.sleep(max(0.05, part.due - time.monotonic()))

    def collect(self, part: Part) -> None:
        """Collect a part; errors of the stores are logged, not raised."""
        part.collecting_since = start = time.monotonic()
        try:
            self._gauges.show(part.name, part.collect())
            part.succeeded_at = time.time()
        except NotFoundError as error:
            log.warning("%s: %s", part.name, error)
        except Exception as error:  # `Dependency` has logged which store
            log.debug("%s could not be collected: %r", part.name, error)
        part.collecting_since = None
        part.took_seconds = time.monotonic() - start
        part.due = start + max(part.interval_seconds, 2 * part.took_seconds)
        self._show_itself()

    def _show_itself(self) -> None:
        parts = self._parts
        with self._lock:  # or an older state could be shown after a newer one
            self._gauges.show(
                _ITSELF,
                {
                    DEPENDENCY_UP: {(d.name,): float(d.up) for d in self._dependencies if d.up is not None},
                    EXPORTER_COLLECT_SECONDS: {(p.name,): p.took_seconds for p in parts if p.took_seconds},
                    EXPORTER_LAST_SUCCESS: {(p.name,): p.succeeded_at for p in parts if p.succeeded_at is not None},
                },
            )

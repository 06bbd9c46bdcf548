"""Which model is served: the registry's champion, opened, checked, and swapped in by one reference assignment."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool
from pydantic import BaseModel

from services.common.bundle import BundleError, open_bundle
from services.common.registry import champion
from services.contracts.rest import Reloaded
from services.inference.catalogue.catalogue import Catalogue
from services.inference.history.live import LiveHistory
from services.inference.history.topic_follower import TopicFollower
from services.inference.history.topic_reader import ReplayError, StartingPoint
from services.inference.local_state import LocalState
from services.inference.metrics import Metrics
from services.inference.models.served import ServedBundle, load_served

log = logging.getLogger(__name__)


_FILE = "served_model"


class _Kept(BaseModel):
    """The served model's version, kept on disk for the replica's next start."""

    version: str
    stage: str


class NoChampionError(Exception):
    """No model has been promoted yet."""


class ModelStore:
    """Holds the served model. Readers read ``current`` once per request; loading does not block them."""

    def __init__(
        self,
        model_dir: Path,
        *,
        pool: ConnectionPool[Any],
        catalogue: Catalogue,
        state: LocalState,
        live: LiveHistory,
        follower: TopicFollower,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._model_dir = model_dir
        self._pool = pool
        self._catalogue = catalogue
        self._state = state
        self._live = live
        self._follower = follower
        self._metrics = metrics
        self._now = now
        self._reloading = threading.Lock()
        self.current: ServedBundle | None = None
        """The model to serve, None before the first one."""
        self.refused: str | None = None
        """Why the champion is not served; None if it is, or if there is none."""
        self.is_replaying = False
        """Whether the champion waits for an older part of the topic that is still being read."""

    def reload(self) -> Reloaded:
        """Serve the champion. Blocks while it loads; requests go on with the model they have.

        The order matters: the topic is read back as far as the new model needs *before* the swap, and what the new
        model contains is dropped from memory *after* it, so that every signal is always in one of the two.

        Raises:
            NoChampionError: nothing has been promoted yet.
            BundleError: the bundle is incomplete, foreign or wrong; the previous model stays.
            ReplayError: Kafka does not answer and an older model needs it; what was served before goes on.
            psycopg.Error: PostgreSQL does not answer.
        """
        with self._reloading:
            try:
                result = self._reload()
            except (BundleError, ReplayError) as error:
                self.is_replaying = isinstance(error, ReplayError)
                self._metrics.model_reloads.labels("failed" if self.is_replaying else "refused").inc()
                self.refused = str(error)
                served = {"serving": self.current and self.current.version}
                if self.is_replaying:
                    log.warning("the champion is not served yet: %s", error, extra=served)
                else:
                    log.exception("the champion is not served", extra=served)
                raise
            except psycopg.Error:
                self._metrics.model_reloads.labels("failed").inc()
                raise
            self.refused, self.is_replaying = None, False
            self._metrics.model_reloads.labels("swapped" if result.changed else "unchanged").inc()
            return result

    def _reload(self) -> Reloaded:
        with self._pool.connection() as connection:
            best = champion(connection)
        self._catalogue.refresh()
        if best is None:
            raise NoChampionError("no model has been promoted yet")
        before = self.current
        if before is None or before.version != best.version:
            self._serve(best.version, best.stage)
        self._state.write(_FILE, _Kept(version=best.version, stage=best.stage))
        previous = None if before is None else before.version
        return Reloaded(version=best.version, previous=previous, changed=previous != best.version)

    def document(self, version: str, name: str) -> str | None:
        """Return a text for people that lies beside a version's bundle; None: there is none. Blocks."""
        try:
            return (self._model_dir / version / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def serve_kept(self) -> None:
        """Serve the model and films that an earlier process kept on this machine, until PostgreSQL answers.

        Does nothing if a model is served already or nothing was kept. Blocks while it loads.
        """
        with self._reloading:
            kept = self._state.read(_FILE, _Kept)
            if self.current is not None or kept is None:
                return
            self._catalogue.read_kept()
            try:
                self._serve(kept.version, kept.stage)
            except (BundleError, ReplayError) as error:
                log.warning("the model kept on disk cannot be served: %s", error)

    def _serve(self, version: str, stage: str) -> None:
        before = self.current
        model = load_served(open_bundle(self._model_dir / version), stage, self._now())
        start = StartingPoint(model.manifest.topic_id, model.manifest.offsets)
        self._follower.cover(start)
        self.current = model
        self._live.prune(model.held)
        self._follower.uncover(start)
        self._publish_metrics(model)
        log.info("a model is served", extra={"version": model.version, "previous": before and before.version})

    def _publish_metrics(self, model: ServedBundle) -> None:
        self._metrics.model_info.clear()
        self._metrics.model_info.labels(model.version, model.stage).set(1)
        self._metrics.model_trained.set(model.manifest.created_at.timestamp())
        self._metrics.model_metric.clear()
        for name, value in model.manifest.metrics.items():
            self._metrics.model_metric.labels(name, "time").set(value)

"""Follows PostgreSQL's notifications of promoted models, erased viewers and changed films; misses none for long."""

import logging
import threading
import time
from collections.abc import Callable

import psycopg
from psycopg import sql
from pydantic import SecretStr

from services.common import postgres
from services.common.bundle import BundleError
from services.contracts.tables import CATALOGUE_CHANGED_CHANNEL, MODEL_PROMOTED_CHANNEL, USER_ERASED_CHANNEL
from services.inference.history.topic_reader import ReplayError
from services.inference.models.store import ModelStore, NoChampionError

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0


class Notifications:
    """One thread that listens; it also checks after every (re)connect and every ``recheck_seconds``."""

    def __init__(
        self,
        dsn: SecretStr,
        store: ModelStore,
        read_erased: Callable[[], None],
        *,
        read_kept_erased: Callable[[], None],
        recheck_seconds: float = 15.0,
        first_model_seconds: float = 1.0,
    ) -> None:
        self._dsn = dsn
        self._store = store
        self._read_erased = read_erased
        self._read_kept_erased = read_kept_erased
        self._recheck_seconds = recheck_seconds
        self._first_model_seconds = first_model_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifications", daemon=True)
        self.error: str | None = "not connected yet"
        """Why listening to PostgreSQL fails now; None if it works."""

    def start(self) -> None:
        """Start listening; returns at once and waits for PostgreSQL in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with postgres.connect(self._dsn, autocommit=True) as connection:
                    self._listen(connection)
            except psycopg.Error as error:
                self._report(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
                self._start_without()
            except Exception as error:  # keep the thread alive whatever happens: its death would go unnoticed
                log.exception("listening to PostgreSQL failed")
                self._report(str(error) or type(error).__name__)
            self._stopping.wait(_RETRY_SECONDS)

    def _start_without(self) -> None:
        """Serve the model kept on disk when PostgreSQL cannot be asked for one; read erased viewers first."""
        if self._store.current is not None:
            return
        try:
            self._read_kept_erased()
            self._store.serve_kept()
        except Exception:  # keep the thread alive whatever happens: its death would go unnoticed
            log.exception("the model kept on disk cannot be served")

    def _report(self, error: str) -> None:
        if self.error != error:
            log.warning("PostgreSQL cannot be listened to: %s", error)
        self.error = error

    def _listen(self, connection: psycopg.Connection) -> None:
        for channel in (MODEL_PROMOTED_CHANNEL, USER_ERASED_CHANNEL, CATALOGUE_CHANGED_CHANNEL):
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        # After LISTEN: later changes are notified, earlier ones are found by this check.
        self._look()
        looked = time.monotonic()
        while not self._stopping.is_set():
            notified = [notice.channel for notice in connection.notifies(timeout=0.5, stop_after=1)]
            is_settled = self._store.current is not None and not self._store.is_replaying
            interval = self._recheck_seconds if is_settled else self._first_model_seconds
            if notified or time.monotonic() - looked > interval:
                self._look()
                looked = time.monotonic()

    def _look(self) -> None:
        """Read the current state: erased viewers first, so that no model ever serves one."""
        self._read_erased()
        try:
            self._store.reload()
        except NoChampionError:
            log.debug("no model has been promoted yet")
        except (BundleError, ReplayError):
            pass  # logged, counted and shown by the store; retried at the next check
        self.error = None

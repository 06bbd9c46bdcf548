"""Trying again until it works, without falling out of the consumer group meanwhile."""

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Protocol, TypeVar

from services.consumer.errors import Remedy, StopError, label_of, remedy_for
from services.consumer.lifecycle import GivenUpError
from services.consumer.worker import Worker

T = TypeVar("T")
log = logging.getLogger(__name__)

USUAL_SECONDS = 0.5
"""An insert usually ends sooner; only after this long are the partitions paused, which costs a refetch."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 5.0
REFUSED_DELAY_SECONDS = 5.0


class Waiting(Protocol):
    """How the ingestion spends time while it cannot go on."""

    def wait(self, seconds: float) -> None:
        """Wait that long, polling Kafka with all partitions paused.

        Raises:
            GivenUpError: the time that storing may take is over.
        """

    def work_ahead(self) -> bool:
        """Do a millisecond's work that is at hand; return whether there was any."""

    def resume(self) -> None:
        """Undo the pausing."""


class Patience:
    """Runs calls on the worker thread and repeats them until they are answered."""

    def __init__(
        self,
        worker: Worker,
        waiting: Waiting,
        on_retry: Callable[[str], None],
        random_unit: Callable[[], float] = random.random,
    ) -> None:
        """``on_retry`` hears the reason of each retry; ``random_unit`` returns numbers of [0, 1)."""
        self._worker = worker
        self._waiting = waiting
        self._on_retry = on_retry
        self._random = random_unit

    def call(self, what: str, attempt: Callable[[], T], *, here: bool = False) -> T:
        """Return ``attempt()``, repeated with exponential backoff and jitter while a retry can help.

        With ``here`` it runs on this thread, which alone calls Kafka's client.
        ``attempt`` must be safe to repeat: an earlier try may have worked and only its answer been lost.

        Raises:
            GivenUpError: the ingestion has no more time.
            StopError: the schema is not ours.
            Exception: what `remedy_for` calls a fault of the data, as it was raised.
        """
        tries = 0
        try:
            while True:
                tries += 1
                try:
                    return attempt() if here else self._in_background(attempt)
                except GivenUpError:
                    raise
                except Exception as error:
                    delay = self._delay_after(error, what, tries)
                self._waiting.wait(delay)
        finally:
            self._waiting.resume()

    def _delay_after(self, error: Exception, what: str, tries: int) -> float:
        remedy = remedy_for(error)
        if isinstance(error, StopError) or remedy is Remedy.BISECT:
            raise error
        if remedy is Remedy.STOP:
            raise StopError(
                f"{what}: the tables are not as this version expects; run the migrations ({error})"
            ) from error
        self._on_retry(label_of(error))
        if remedy is Remedy.REFUSED:
            log.error("%s: access refused; nothing is skipped, waiting for credentials: %s", what, error)
            return REFUSED_DELAY_SECONDS
        log.warning("%s: attempt %d failed, trying again: %s", what, tries, error)
        longest = min(FIRST_DELAY_SECONDS * 2.0 ** min(tries - 1, 10), LONGEST_DELAY_SECONDS)
        return longest * (0.5 + self._random() / 2)

    def _in_background(self, attempt: Callable[[], T]) -> T:
        future: Future[T] = self._worker.submit(attempt)
        deadline = time.monotonic() + USUAL_SECONDS
        while not future.done() and time.monotonic() < deadline and self._waiting.work_ahead():
            pass
        while True:
            try:
                return future.result(max(0.0, deadline - time.monotonic()) if not future.done() else None)
            except FutureTimeoutError:
                if future.done():
                    raise  # the attempt's own timeout, not ours
            self._waiting.wait(0.1)

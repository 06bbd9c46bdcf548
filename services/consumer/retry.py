"""Retries that keep the consumer in its group meanwhile."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Protocol, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random_exponential

from services.consumer.errors import Remedy, StopError, label_of, remedy_for
from services.consumer.lifecycle import GivenUpError
from services.consumer.worker import Worker

T = TypeVar("T")
log = logging.getLogger(__name__)

USUAL_SECONDS = 0.5
"""Inserts usually end sooner; only then are partitions paused, which costs a refetch."""
BACKOFF = wait_exponential(multiplier=0.05, max=2.5) + wait_random_exponential(multiplier=0.05, max=2.5)
"""At most 0.1 s, doubling up to 5 s; half of it is jitter, so that consumers do not retry all at once."""
REFUSED_DELAY_SECONDS = 5.0


class Waiting(Protocol):
    """How the ingestion spends time while it cannot go on."""

    def wait(self, seconds: float) -> None:
        """Wait that long, polling Kafka with all partitions paused.

        Raises:
            GivenUpError: the time limit for storing is reached.
        """

    def work_ahead(self) -> bool:
        """Do about a millisecond of pending work; return whether there was any."""

    def resume(self) -> None:
        """Undo the pausing."""


class Retrier:
    """Runs calls on the worker thread and repeats them until they succeed."""

    def __init__(self, worker: Worker, waiting: Waiting, on_retry: Callable[[str], None]) -> None:
        """``on_retry`` is called with the reason of each retry."""
        self._worker = worker
        self._waiting = waiting
        self._on_retry = on_retry

    def call(self, what: str, attempt: Callable[[], T], *, here: bool = False) -> T:
        """Return ``attempt()``, repeated with exponential backoff and jitter while a retry can help.

        With ``here`` it runs on this thread, as calls to Kafka's client must.
        ``attempt`` must be idempotent: an earlier try may have succeeded and only its answer been lost.

        Raises:
            GivenUpError: the ingestion has no more time.
            StopError: the schema is not as expected.
            Exception: what `remedy_for` calls a fault of the data, as it was raised.
        """
        retrying = Retrying(
            retry=retry_if_exception(_may_pass),
            wait=_delay,
            before_sleep=partial(self._report, what),
            sleep=self._waiting.wait,
        )
        try:
            return retrying(attempt if here else partial(self._in_background, attempt))
        except Exception as error:
            if remedy_for(error) is not Remedy.STOP:
                raise
            raise StopError(
                f"{what}: the tables are not as this version expects; run the migrations ({error})"
            ) from error
        finally:
            self._waiting.resume()

    def _report(self, what: str, state: RetryCallState) -> None:
        error = _error_of(state)
        self._on_retry(label_of(error))
        if remedy_for(error) is Remedy.REFUSED:
            log.error("%s: access refused; nothing is skipped, waiting for credentials: %s", what, error)
        else:
            log.warning("%s: attempt %d failed, trying again: %s", what, state.attempt_number, error)

    def _in_background(self, attempt: Callable[[], T]) -> T:
        future: Future[T] = self._worker.submit(attempt)
        deadline = time.monotonic() + USUAL_SECONDS
        while not future.done() and time.monotonic() < deadline and self._waiting.work_ahead():
            pass
        wait([future], max(0.0, deadline - time.monotonic()))
        while not future.done():
            self._waiting.wait(0.1)
        return future.result()


def _may_pass(error: BaseException) -> bool:
    if not isinstance(error, Exception) or isinstance(error, GivenUpError | StopError):
        return False
    return remedy_for(error) in (Remedy.RETRY, Remedy.REFUSED)


def _delay(state: RetryCallState) -> float:
    return REFUSED_DELAY_SECONDS if remedy_for(_error_of(state)) is Remedy.REFUSED else BACKOFF(state)


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None, "only what has failed is retried"
    return error

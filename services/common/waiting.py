"""Waiting for what a service needs, so that start order never matters."""

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_never, wait_exponential_jitter

T = TypeVar("T")
log = logging.getLogger(__name__)


def wait_for(
    what: str,
    attempt: Callable[[], T],
    *,
    when: Callable[[BaseException], bool] = lambda error: isinstance(error, Exception),
    timeout_seconds: float | None = None,
) -> T:
    """Return ``attempt()``, retried with exponential backoff (0.1–5 s, jitter) until it succeeds.

    Errors for which ``when`` is false are raised at once; with ``timeout_seconds`` the last error is
    raised when the time is over. Blocks. Each failure is logged with the reason.
    """

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        log.warning("waiting for %s (attempt %d): %s", what, state.attempt_number, reason)

    retrying = Retrying(
        wait=wait_exponential_jitter(initial=0.1, max=5, jitter=0.5),
        stop=stop_never if timeout_seconds is None else stop_after_delay(timeout_seconds),
        retry=retry_if_exception(when),
        before_sleep=report,
        reraise=True,
    )
    return retrying(attempt)

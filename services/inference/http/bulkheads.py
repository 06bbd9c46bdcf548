"""Bulkheads: limits for requests that may wait long, so that they only hold up each other and never a list.

Routes that only compute share the framework's threads. Routes that wait for a store do not: when the store is frozen,
the few threads of its bulkhead wait, a limited number of requests queue for them, and all others get a 503 at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from services.inference.http.problems import ProblemError

_RETRY_AFTER_SECONDS = 2
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class ConcurrencyLimit:
    """A limit on the requests that wait for the same thing at once. For one event loop."""

    def __init__(self, what: str, *, at_once: int) -> None:
        self._what = what
        self._left = at_once

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one slot for the duration of the block.

        Raises:
            ProblemError: 503, all are taken.
        """
        if self._left == 0:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"Too many requests wait for {self._what}.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        self._left -= 1
        try:
            yield
        finally:
            self._left += 1


class Bulkhead:
    """Runs blocking calls of one kind: ``at_once`` in threads, up to ``waiting`` more waiting."""

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._limit = ConcurrencyLimit(what, at_once=at_once + waiting)
        self._threads = CapacityLimiter(at_once)

    async def run(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what ``call`` returns.

        Raises:
            ProblemError: 503, too many are waiting.
        """
        with self._limit.slot():
            return await to_thread.run_sync(call, *args, limiter=self._threads)

"""Threads of their own for what may wait long, so that it holds up its like alone and never a list.

Routes that only compute share the framework's threads. What waits for a store does not: when that store is frozen, the
few threads of its lane wait, a bounded number of requests waits for them, and all others are told at once to come back.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from services.inference.problems import ProblemError

_RETRY_AFTER_SECONDS = 2
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Lane:
    """Runs blocking calls of one kind: ``at_once`` in threads, up to ``waiting`` more waiting. For one event loop."""

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._what = what
        self._waiting = waiting
        self._limiter = CapacityLimiter(at_once)

    async def run(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """Return what ``call`` returns.

        Raises:
            ProblemError: 503, too many wait already.
        """
        if self._limiter.statistics().tasks_waiting >= self._waiting:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"Too many requests wait for {self._what}.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )
        return await to_thread.run_sync(call, *args, limiter=self._limiter)

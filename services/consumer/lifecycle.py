"""What an ingestion is doing, what it may do then, and when it has to end. Pure: the clock is passed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum


class GivenUpError(Exception):
    """Time is over (shutdown or revocation). What was being stored is redelivered, not lost."""


class Phase(Enum):
    """What the ingestion's thread is doing."""

    CONSUMING = "consuming"
    """Polling and decoding. Of partitions that are revoked now, what is held is stored first (`RELEASING`)."""
    STORING = "storing"
    """Storing and committing; Kafka is polled meanwhile. Partitions that are revoked now are let go as they are."""
    RELEASING = "releasing"
    """Storing and committing inside the callback of a revocation, from which Kafka's client must not be polled."""
    CLOSING = "closing"
    """Leaving the group, with nothing more polled or stored. Never ends."""


class Lifecycle:
    """The phase, which only the ingestion's thread changes, and what others ask for: to stop, or to fail.

    A request is a single assignment and is never taken back, so it needs no lock, which a signal handler could not wait
    for.
    """

    def __init__(self, *, revoke_seconds: float, stop_seconds: float, clock: Callable[[], float]) -> None:
        """Storing may go on for ``revoke_seconds`` in a revocation, and ``stop_seconds`` after a request to stop."""
        self._revoke_seconds = revoke_seconds
        self._stop_seconds = stop_seconds
        self._clock = clock
        self._deadline: float | None = None
        self._failure: BaseException | None = None
        self.is_stopping = False
        self.phase = Phase.CONSUMING

    def stop(self) -> None:
        """Ask to store what is held and to end. Safe from signal handlers and threads."""
        self.is_stopping = True

    def fail(self, error: BaseException) -> None:
        """Ask to end with ``error`` and to store nothing more; the first error counts. Safe from threads."""
        self._failure = self._failure or error

    @contextmanager
    def storing(self) -> Iterator[None]:
        """CONSUMING → STORING, and back."""
        with self._leaving_consuming_for(Phase.STORING):
            yield

    @contextmanager
    def releasing(self) -> Iterator[None]:
        """CONSUMING → RELEASING, with a deadline, and back."""
        with self._leaving_consuming_for(Phase.RELEASING):
            self._deadline = self._clock() + self._revoke_seconds
            try:
                yield
            finally:
                self._deadline = None

    @contextmanager
    def _leaving_consuming_for(self, phase: Phase) -> Iterator[None]:
        assert self.phase is Phase.CONSUMING, f"{phase.value} in the phase {self.phase.value}"
        self.phase = phase
        try:
            yield
        finally:
            self.phase = Phase.CONSUMING

    def close(self) -> None:
        """Any phase → CLOSING."""
        self.phase = Phase.CLOSING

    @property
    def may_poll(self) -> bool:
        """Whether Kafka's client may be polled, paused or sought."""
        return self.phase in (Phase.CONSUMING, Phase.STORING)

    @property
    def may_release(self) -> bool:
        """Whether what is held of revoked partitions may be stored."""
        return self.phase is Phase.CONSUMING and self._failure is None

    def raise_failure(self) -> None:
        """Raise what `fail` was given."""
        if self._failure is not None:
            raise self._failure

    def raise_if_over(self) -> None:
        """Return while there is time to wait. The time that a stop allows begins with the first call after it.

        Raises:
            GivenUpError: the deadline of the revocation, or else of the stop, is reached.
            BaseException: what `fail` was given.
        """
        self.raise_failure()
        if self.is_stopping and self._deadline is None:
            self._deadline = self._clock() + self._stop_seconds
        if self._deadline is not None and self._clock() >= self._deadline:
            raise GivenUpError

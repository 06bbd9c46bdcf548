"""The phases of an ingestion, what each allows, and the deadlines. Pure: the clock is passed in."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum


class GivenUpError(Exception):
    """The time limit of a shutdown or revocation is reached. What was being stored is redelivered, not lost."""


class Phase(Enum):
    """What the ingestion's thread is doing."""

    CONSUMING = "consuming"
    """Polling and decoding. On revocation, what is held of the partitions is stored first (`RELEASING`)."""
    STORING = "storing"
    """Storing and committing, while polling Kafka. On revocation, what is held is dropped and redelivered."""
    RELEASING = "releasing"
    """Storing and committing inside a revocation's callback, where Kafka's client must not be polled."""
    CLOSING = "closing"
    """Leaving the group; nothing more is polled or stored. Final."""


class Lifecycle:
    """The phase, which only the ingestion's thread changes, and requests of others to stop or to fail.

    A request is a single assignment that is never undone, so it needs no lock: a signal handler could not wait for one.
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
        """Request to store what is held and to stop. Safe from signal handlers and threads."""
        self.is_stopping = True

    def fail(self, error: BaseException) -> None:
        """Request to stop with ``error`` and to store nothing more; the first error counts. Safe from threads."""
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
        """Return while there is time left. The time limit of a stop starts with the first call after it.

        Raises:
            GivenUpError: the deadline of the revocation, or else of the stop, is reached.
            BaseException: what `fail` was given.
        """
        self.raise_failure()
        if self.is_stopping and self._deadline is None:
            self._deadline = self._clock() + self._stop_seconds
        if self._deadline is not None and self._clock() >= self._deadline:
            raise GivenUpError

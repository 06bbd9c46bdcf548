"""Repeats the measurement, whatever the API does."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from services.client.errors import ApiError, UnreachableError
from services.common.metrics_server import Heartbeat
from services.probe.measure import LateError, NothingToLikeError, like_to_list, withdraw
from services.probe.metrics import Metrics, Outcome
from services.probe.viewer import Viewer

log = logging.getLogger(__name__)


class Prober:
    """Measures at an interval; each round is counted by its outcome, and logged when the outcome changes."""

    def __init__(
        self,
        viewers: Sequence[Viewer],
        metrics: Metrics,
        *,
        patience_seconds: float,
        grace_seconds: float = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._viewers = viewers
        self._metrics = metrics
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._sleep = sleep
        self._last: Outcome | None = None
        self._grace_ends = clock() + grace_seconds
        """A new installation trains its first model: until then, failures before the first success are not counted."""

    def run(self, interval_seconds: float, heartbeat: Heartbeat) -> NoReturn:
        """Begin a round every `interval_seconds`, or as soon as a longer one has ended."""
        while True:
            heartbeat.beat()
            start = self._clock()
            self.round()
            self._sleep(max(0.0, interval_seconds - (self._clock() - start)))

    def round(self) -> Outcome:
        """Measure once; return the outcome, which is not counted in the time of grace. API errors are not raised."""
        outcome = Outcome.OK
        why: str | None = None
        try:
            withdraw(self._viewers[0])
            seconds = like_to_list(self._viewers, self._patience_seconds, self._clock, self._sleep)
            self._metrics.like_to_list_seconds.observe(seconds)
            withdraw(self._viewers[0])
        except LateError as error:
            outcome, why = Outcome.TIMEOUT, str(error)
        except NothingToLikeError as error:
            outcome, why = Outcome.REFUSED, str(error)
        except UnreachableError as error:
            outcome, why = Outcome.UNREACHABLE, error.reason
        except ApiError as error:
            outcome, why = Outcome.REFUSED, error.reason
        if outcome is Outcome.OK:
            self._grace_ends = self._clock()
        if self._clock() >= self._grace_ends:
            self._metrics.rounds.labels(outcome.value).inc()
        if outcome is not self._last:
            if why is None:
                log.info("like to list is measured", extra={"outcome": outcome.value})
            else:
                log.warning("like to list cannot be measured", extra={"outcome": outcome.value, "why": why})
        self._last = outcome
        return outcome

"""The quarantine's circuit breaker: a bad deploy must stop the consumer, not quarantine everything. Pure."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BreakerLimits:
    """The breaker's limits. A ratio of 1 or more and a consecutive count of 0 disable it."""

    window: int
    """The ratio is taken over the last ``window`` records…"""
    at_least: int
    """…once there are this many of them."""
    ratio: float
    consecutive: int


class BreakerOpenError(Exception):
    """Too many records would go to quarantine."""


@dataclass
class Breaker:
    """Counts the outcome of each record, in partition order."""

    limits: BreakerLimits
    _runs: deque[tuple[int, int]] = field(default_factory=deque)
    _good: int = 0
    _bad: int = 0
    _consecutive: dict[tuple[str, int], int] = field(default_factory=dict)

    def observe(self, place: tuple[str, int], good: int, bad: int, longest_run: int) -> None:
        """Count one block; ``longest_run`` is its longest run of bad records without a good one.

        Raises:
            BreakerOpenError: a limit is passed. Nothing of that block may be stored or committed.
        """
        before = self._consecutive.get(place, 0)
        self._consecutive[place] = before + bad if good == 0 else 0
        run = before + bad if good == 0 else longest_run
        self._runs.append((good, bad))
        self._good += good
        self._bad += bad
        while len(self._runs) > 1 and self._good + self._bad - sum(self._runs[0]) >= self.limits.window:
            old_good, old_bad = self._runs.popleft()
            self._good -= old_good
            self._bad -= old_bad
        seen = self._good + self._bad
        if 0 < self.limits.consecutive <= run:
            raise BreakerOpenError(f"{run} records in a row of {place[0]}/{place[1]} are unusable")
        if seen >= self.limits.at_least and self._bad > self.limits.ratio * seen:
            raise BreakerOpenError(f"{self._bad} of the last {seen} records are unusable")


def longest_run(bad_offsets: list[int], good_offsets: list[int]) -> int:
    """Return the greatest number of bad offsets with no good one between them; both ascending.

    >>> longest_run([1, 2, 5, 6, 7], [3, 4, 8])
    3
    """
    longest = run = 0
    good = iter([*good_offsets, None])
    following = next(good)
    for offset in bad_offsets:
        if following is not None and following < offset:
            run = 0
            while following is not None and following < offset:
                following = next(good)
        run += 1
        longest = max(longest, run)
    return longest

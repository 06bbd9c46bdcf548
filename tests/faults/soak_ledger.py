"""What the soak's clients know: what was acknowledged, what is uncertain, and what should never have happened."""

import threading
from collections import Counter
from datetime import datetime, timedelta

from services.contracts.events import Event
from services.contracts.signals import to_microseconds
from tests.faults.oracle import EventKey, Fact, Oracle, fact_of, key_of

STEP = timedelta(milliseconds=1)
"""A client's times of one viewer are at least this far apart."""


class Ledger:
    """Beside the oracle of acknowledged events, those whose stored time, or whose fate, no answer told. Thread-safe.

    An event that was sent more than once may be on the topic more than once, also when only one answer came: then
    the views show the latest of its times, which its 202 need not name. It lies between the time of the 202 and the
    viewer's next event. An event that never got a 202 may be stored or not.
    """

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.counts: Counter[str] = Counter()
        self.unexpected: list[str] = []
        """What a client saw that breaks the API's promises."""
        self._lock = threading.Lock()
        self._claimed: dict[EventKey, datetime] = {}
        self._unknown: dict[EventKey, Event] = {}

    def acknowledged(self, event: Event, claimed: datetime, *, sent_once: bool) -> None:
        """A 202 named this event, complete with the time that it was stored under; ``claimed`` is the client's."""
        self.oracle.saw(event)
        if not sent_once:
            with self._lock:
                self._claimed[key_of(event)] = claimed

    def unknown(self, event: Event) -> None:
        """The client stopped before it got a 202; ``event`` has the time that the client claimed."""
        with self._lock:
            self._unknown[key_of(event)] = event

    def note(self, what: str, count: int = 1) -> None:
        """Count something for the summary."""
        with self._lock:
            self.counts[what] += count

    def accuse(self, what: str) -> None:
        """Note something that must not happen."""
        with self._lock:
            self.unexpected.append(what)

    def settle(self, stored: dict[EventKey, Fact]) -> tuple[int, int]:
        """Take the times of uncertain events, and the fate of unknown ones, from what is stored, if they are lawful.

        Returns how many unknown events are stored, and how many are not. What is unlawful stays as the 202 said
        (or unknown to the oracle), and so shows up as a difference.
        """
        for key, claimed in self._claimed.items():
            self._take_time(self.oracle.events[key], claimed, stored.get(key))
        present = 0
        for key, event in self._unknown.items():
            present += key in stored
            self._take_time(event, event.event_time, stored.get(key))
        return present, len(self._unknown) - present

    def _take_time(self, event: Event, claimed: datetime, found: Fact | None) -> None:
        if found is None:
            return
        earliest, before = to_microseconds(event.event_time), to_microseconds(claimed + STEP)
        if found[:3] == fact_of(event)[:3] and earliest <= found[3] < before:
            time = event.event_time + timedelta(microseconds=found[3] - earliest)
            self.oracle.events[key_of(event)] = event.model_copy(update={"event_time": time})

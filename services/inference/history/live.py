"""Signals since the served model's extract, in memory; fed by the topic and by events posted to this replica."""

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from services.contracts.events import Event
from services.contracts.ids import UserId
from services.inference.history.stamps import Slots, merge, slot_and_version

Change = tuple[UserId, int, int]
"""A viewer, and a slot with its version, as `slot_and_version` derives them from an event."""


class Live(NamedTuple):
    """A snapshot of one viewer's live signals."""

    revision: int
    """Changes whenever a signal is added or replaced, and is never reused; 0: no signals."""
    slots: Mapping[int, int]


_NOTHING = Live(0, {})


class LiveHistory:
    """Live signals by viewer. Thread-safe; methods take microseconds, except `prune`, which yields in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[UserId, Slots] = {}
        self._revisions: dict[UserId, int] = {}
        self._next_revision = itertools.count(1)
        self._erased: frozenset[UserId] = frozenset()

    def apply(self, event: Event) -> None:
        """Apply one event; order and repetition make no difference. Events of erased viewers are ignored."""
        self.fold([(event.user_id, *slot_and_version(event))])

    def fold(self, changes: Iterable[Change]) -> None:
        """Apply many events at once. Holds the lock, so pass some thousands at most."""
        with self._lock:
            for user_id, slot, version in changes:
                if user_id in self._erased:
                    continue
                slots = self._slots.get(user_id)
                if slots is None:
                    slots = self._slots[user_id] = {}
                if merge(slots, slot, version):
                    self._revisions[user_id] = next(self._next_revision)

    def version_of(self, user_id: UserId, slot: int) -> int:
        """Return the version of one live signal; 0: there is none."""
        with self._lock:
            return self._slots.get(user_id, {}).get(slot, 0)

    def of(self, user_id: UserId) -> Live:
        """Return the viewer's live signals, a copy."""
        with self._lock:
            slots = self._slots.get(user_id)
            return _NOTHING if slots is None else Live(self._revisions[user_id], dict(slots))

    def is_erased(self, user_id: UserId) -> bool:
        """Return whether the viewer was erased, so that nothing may be kept or served for the id."""
        return user_id in self._erased

    @property
    def erased(self) -> frozenset[UserId]:
        """All erased viewers."""
        return self._erased

    def erase(self, user_ids: frozenset[UserId]) -> None:
        """Drop these viewers' signals and ignore their events from now on."""
        with self._lock:
            self._erased |= user_ids
            for user_id in user_ids & self._slots.keys():
                del self._slots[user_id], self._revisions[user_id]

    def prune(self, held: Callable[[UserId, Mapping[int, int]], set[int]]) -> int:
        """Drop the slots of which ``held`` says that the model has the same or a newer version; return how many."""
        dropped = 0
        with self._lock:
            users = list(self._slots)
        for user_id in users:
            snapshot = self.of(user_id).slots
            superfluous = held(user_id, snapshot)
            with self._lock:
                slots = self._slots.get(user_id, {})
                for slot in superfluous:
                    if slots.get(slot) == snapshot[slot]:
                        del slots[slot]
                        dropped += 1
                if user_id in self._slots and not slots:
                    del self._slots[user_id], self._revisions[user_id]
        return dropped

    def __len__(self) -> int:
        """Return the number of viewers with live signals."""
        return len(self._slots)

"""What viewers said since the served model was made, in memory; fed by the topic and by this replica's own posts."""

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from services.contracts.events import Event
from services.contracts.ids import UserId
from services.inference.history.stamps import Slots, merge, slot_and_version

Change = tuple[UserId, int, int]
"""A viewer, and a slot with its version, as `slot_and_version` makes them of an event."""


class Live(NamedTuple):
    """One viewer's live signals at one moment."""

    revision: int
    """Changes with every change of ``slots``, and never comes back; 0: no signals."""
    slots: Mapping[int, int]


_NOTHING = Live(0, {})


class LiveHistory:
    """Live signals by viewer. Thread-safe; every method takes microseconds except `prune`, which yields in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._slots: dict[UserId, Slots] = {}
        self._revisions: dict[UserId, int] = {}
        self._next_revision = itertools.count(1)
        self._erased: frozenset[UserId] = frozenset()

    def apply(self, event: Event) -> None:
        """Take one event in; again, or in another order, it makes no difference. Erased viewers stay unknown."""
        self.fold([(event.user_id, *slot_and_version(event))])

    def fold(self, changes: Iterable[Change]) -> None:
        """Take in many at once, as `apply` does; the others wait meanwhile, so give it some thousands at most."""
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
        """Return whether the viewer was erased: nothing may be kept or served for the id any more."""
        return user_id in self._erased

    @property
    def erased(self) -> frozenset[UserId]:
        """Everyone who was erased."""
        return self._erased

    def erase(self, user_ids: frozenset[UserId]) -> None:
        """Forget these viewers now and for ever."""
        with self._lock:
            self._erased |= user_ids
            for user_id in user_ids & self._slots.keys():
                del self._slots[user_id], self._revisions[user_id]

    def prune(self, held: Callable[[UserId, Mapping[int, int]], set[int]]) -> int:
        """Drop the slots that ``held`` says the model has as new or newer; return how many."""
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

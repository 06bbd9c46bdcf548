"""A viewer's live signals as numbers whose maximum is the merge.

Of two events that set the same signal of the same film the one with the greater version wins, and a version
holds its value (`services.contracts.signals`). So the state after any number of deliveries in any order is the
greatest version per slot: merging is commutative, associative and idempotent, and one entry costs two Python integers.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from services.contracts.events import Event, EventIn
from services.contracts.ids import ItemId
from services.contracts.signals import EPOCH, Signal, signal_of, signal_version, to_microseconds, value_of

SIGNALS = (Signal.OPINION, Signal.RATING, Signal.WATCHED)
"""In the order of the bundle's ``history_versions``."""
_CODE = {signal: code for code, signal in enumerate(SIGNALS)}

Slots = dict[int, int]
"""Slot (film and signal) -> version."""


class LiveSignal(NamedTuple):
    """One slot with its version, taken apart."""

    item_id: ItemId
    signal: int
    """Index into `SIGNALS`."""
    version: int
    value: float


def slot_of(event: EventIn) -> int:
    """Return the slot that an event will set, which does not depend on its time and id."""
    signal, _ = signal_of(event.action, event.value)
    return event.item_id << 2 | _CODE[signal]


def slot_and_version(event: Event) -> tuple[int, int]:
    """Return the slot that the event sets, and its version."""
    signal, value = signal_of(event.action, event.value)
    version = signal_version(to_microseconds(event.event_time), event.event_id, value)
    return event.item_id << 2 | _CODE[signal], version


def unpack(slot: int, version: int) -> LiveSignal:
    """Return what `slot_and_version` put together."""
    return LiveSignal(ItemId(slot >> 2), slot & 3, version, value_of(version))


def time_of(version: int) -> datetime | None:
    """Return the event time in a version; None for 0, which means no version."""
    return EPOCH + timedelta(microseconds=version >> 64) if version else None


def merge(into: Slots, slot: int, version: int) -> bool:
    """Keep the greater version; return whether anything changed."""
    if into.get(slot, 0) >= version:
        return False
    into[slot] = version
    return True

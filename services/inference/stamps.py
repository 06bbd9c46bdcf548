"""A viewer's live signals as numbers whose maximum is the merge.

A *stamp* is an event's version with its value (a float32's bits) in the low 32. Of two events that set the same
signal of the same film the one with the greater version wins (`services.contracts.signals`), so the
state after any number of deliveries in any order is the maximum stamp per slot: merging is
commutative, associative and idempotent, and one entry costs two Python integers.
"""

import struct
from typing import NamedTuple

from services.contracts.events import Event
from services.contracts.ids import ItemId
from services.contracts.signals import Signal, signal_of, signal_version, to_microseconds

SIGNALS = (Signal.OPINION, Signal.RATING, Signal.WATCHED)
"""In the order of the bundle's ``history_versions``."""
_FLOAT, _BITS = struct.Struct("<f"), struct.Struct("<I")
_CODE = {signal: code for code, signal in enumerate(SIGNALS)}

Slots = dict[int, int]
"""Slot (film and signal) -> stamp (version and value)."""


class LiveSignal(NamedTuple):
    """One slot with its stamp, taken apart."""

    item_id: ItemId
    signal: int
    """Index into `SIGNALS`."""
    version: int
    value: float


def slot_and_stamp(event: Event) -> tuple[int, int]:
    """Return the slot that the event sets and its stamp."""
    signal, value = signal_of(event.action, event.value)
    version = signal_version(to_microseconds(event.event_time), event.event_id)
    (bits,) = _BITS.unpack(_FLOAT.pack(value))
    return event.item_id << 2 | _CODE[signal], version << 32 | bits


def take_apart(slot: int, stamp: int) -> LiveSignal:
    """Return what `slot_and_stamp` put together."""
    (value,) = _FLOAT.unpack(_BITS.pack(stamp & 0xFFFF_FFFF))
    return LiveSignal(ItemId(slot >> 2), slot & 3, stamp >> 32, value)


def merge(into: Slots, slot: int, stamp: int) -> bool:
    """Keep the greater stamp; return whether anything changed."""
    if into.get(slot, 0) >= stamp:
        return False
    into[slot] = stamp
    return True

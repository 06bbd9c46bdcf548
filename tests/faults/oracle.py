"""The oracle: what the views must show, computed from nothing but the events that the broker acknowledged."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from clickhouse_connect.driver.client import Client

from services.contracts.events import Event
from services.contracts.signals import signal_of, signal_version, to_microseconds
from services.contracts.tables import EVENTS_VIEW, QUARANTINE_VIEW, SIGNALS_VIEW

EventKey = tuple[int, UUID, int, str, float | None]
"""Viewer, event's id, and what it says (film, action, value): what counts once, however often it was sent."""
Fact = tuple[int, str, float | None, int]
"""Item, action, value, event time in µs."""


@dataclass
class Oracle:
    """Saw every acknowledged record. Safe to use from several threads."""

    events: dict[EventKey, Event] = field(default_factory=dict)
    acknowledged: int = 0
    bad: set[bytes] = field(default_factory=set)
    erased: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def saw(self, event: Event) -> None:
        """The broker acknowledged this event; of two records of one event the later event time counts."""
        with self._lock:
            key = key_of(event)
            self.acknowledged += 1
            if key not in self.events or self.events[key].event_time < event.event_time:
                self.events[key] = event

    def saw_bad(self, value: bytes) -> None:
        """The broker acknowledged a record that is not an event."""
        with self._lock:
            self.acknowledged += 1
            self.bad.add(value)

    def expected_events(self) -> dict[EventKey, Fact]:
        """What `events_v` must show."""
        with self._lock:
            return {key: fact_of(event) for key, event in self.events.items() if event.user_id not in self.erased}

    def expected_signals(self) -> dict[tuple[int, int, str], tuple[float, int]]:
        """What `signals_v` must show: per viewer, film and signal the winning value and its version."""
        latest: dict[tuple[int, int, str], tuple[int, float]] = {}
        with self._lock:
            for event in self.events.values():
                if event.user_id in self.erased:
                    continue
                signal, value = signal_of(event.action, event.value)
                version = signal_version(to_microseconds(event.event_time), event.event_id, value)
                key = (int(event.user_id), int(event.item_id), signal.value)
                latest[key] = max(latest.get(key, (0, 0.0)), (version, value))
        return {key: (value, version) for key, (version, value) in latest.items()}


def key_of(event: Event) -> EventKey:
    """What the event is, but for its time."""
    return int(event.user_id), event.event_id, int(event.item_id), event.action.value, event.value


def fact_of(event: Event) -> Fact:
    """What must be stored of an event, whatever else is."""
    return (int(event.item_id), event.action.value, event.value, to_microseconds(event.event_time))


def stored_events(client: Client) -> dict[EventKey, Fact]:
    """What `events_v` shows; AssertionError when it shows an event twice."""
    rows = client.query(
        f"SELECT user_id, event_id, item_id, action, value, toUnixTimestamp64Micro(event_time) FROM {EVENTS_VIEW}"
    ).result_rows
    found = {tuple(row[:5]): tuple(row[2:]) for row in rows}
    assert len(found) == len(rows), f"{len(rows) - len(found)} events are shown more than once"
    return found


def stored_signals(client: Client) -> dict[tuple[int, int, str], tuple[float, int]]:
    """What `signals_v` shows; AssertionError when it shows a signal twice."""
    rows = client.query(f"SELECT user_id, item_id, signal, value, version FROM {SIGNALS_VIEW}").result_rows
    found = {(user, item, signal): (value, int(version)) for user, item, signal, value, version in rows}
    assert len(found) == len(rows), "a signal is shown more than once"
    return found


def stored_quarantine(client: Client) -> list[bytes]:
    """The values that `events_quarantine_v` shows, byte for byte."""
    rows = client.query(f"SELECT hex(value) FROM {QUARANTINE_VIEW}").result_rows
    return [bytes.fromhex(value) for (value,) in rows]


def differences(expected: dict[EventKey, Fact], found: dict[EventKey, Fact]) -> str:
    """A line that says how two states differ; empty when they are equal."""
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    changed = [key for key in expected.keys() & found.keys() if expected[key] != found[key]]
    if not (missing or extra or changed):
        return ""
    return (
        f"missing {len(missing)} {_some(missing)}, not expected {len(extra)} {_some(extra)}, changed {_some(changed)}"
    )


def _some(keys: Iterable[EventKey]) -> str:
    return str(["/".join(map(str, key)) for key in list(keys)[:3]])

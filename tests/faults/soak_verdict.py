"""After a soak: everything that must hold, with the numbers that show it."""

from dataclasses import dataclass
from typing import Any

import httpx

from services.common import kafka as kafka_admin
from services.contracts.tables import EVENTS, EVENTS_QUARANTINE
from tests.faults.oracle import differences, stored_events, stored_quarantine, stored_signals
from tests.faults.soak_ledger import Ledger
from tests.faults.soak_watch import Trend, shown_twice
from tests.faults.world import World
from tests.support.processes import wait_until

LARGEST_MEGABYTES = 300
GROWTH_MEGABYTES = 25
HISTORY_SECONDS = 30
Signals = dict[tuple[int, int, str], tuple[float, int]]


@dataclass(frozen=True)
class Check:
    """One line of the summary."""

    what: str
    expected: object
    found: object
    problem: str = ""
    """Why it does not hold; empty: it does."""

    @property
    def holds(self) -> bool:
        """Whether it is as it must be."""
        return not self.problem


def equal(what: str, expected: object, found: object) -> Check:
    """A check that two values are the same."""
    return Check(what, expected, found, "" if expected == found else "not equal")


def check_stream(world: World, ledger: Ledger) -> list[Check]:
    """Compare Kafka, ClickHouse and the oracle once everything is committed."""
    topic = world.identity()
    admin = kafka_admin.admin(world.kafka.bootstrap)
    begin, end = kafka_admin.begin_offsets(admin, topic), kafka_admin.end_offsets(admin, topic)
    produced = sum(end.values()) - sum(begin.values())
    with world.client() as client:
        rows, quarantined = (
            int(client.command(f"SELECT uniqExact(partition, offset) FROM {table} WHERE epoch = {topic.epoch}"))  # type: ignore[arg-type]
            for table in (EVENTS, EVENTS_QUARANTINE)
        )
        shown, signals, bad = stored_events(client), stored_signals(client), stored_quarantine(client)
        twice = shown_twice(client)
    present, absent = ledger.settle(shown)
    facts, expected_signals = world.oracle.expected_events(), world.oracle.expected_signals()
    wrong = {key for key in expected_signals.keys() | signals.keys() if expected_signals.get(key) != signals.get(key)}
    return [
        equal("records on the topic = stored + quarantined", produced, rows + quarantined),
        Check("events acknowledged = events shown", len(facts), len(shown), differences(facts, shown)),
        Check("  of these without a 202: stored, not stored", "any", f"{present}, {absent}"),
        Check(
            "bad records acknowledged = shown in quarantine", len(world.oracle.bad), len(bad),
            "" if sorted(bad) == sorted(world.oracle.bad) else "not the same records",
        ),
        Check(
            "signals as the oracle's", len(expected_signals), len(signals), f"wrong: {list(wrong)[:3]}" if wrong else ""
        ),
        equal("rows that a view shows twice", 0, sum(twice.values())),
        equal("offsets that the audit misses, events", 0, world.missing()),
        equal("offsets that the audit misses, impressions", 0, world.missing(world.impressions_topic)),
    ]  # fmt: skip


def check_histories(replica: str, name: str, viewers: list[int], signals: Signals) -> Check:
    """Whether a replica's live state of these viewers is what the oracle says, now or soon."""
    expected = {viewer: _history_of(viewer, signals) for viewer in viewers}
    found: dict[int, dict[int, tuple[float | None, ...]]] = {}

    def agree() -> bool:
        for viewer in viewers:
            if found.get(viewer) != expected[viewer]:
                found[viewer] = _served_history(replica, viewer)
        return found == expected

    try:
        wait_until(agree, HISTORY_SECONDS, "the histories agree", 0.5)
    except (AssertionError, httpx.HTTPError) as error:
        wrong = [viewer for viewer in viewers if found.get(viewer) != expected[viewer]]
        return Check(f"histories served by {name}", len(viewers), len(viewers) - len(wrong), f"{wrong[:3]}: {error}")
    return Check(f"histories served by {name}", len(viewers), len(viewers))


def check_memory(name: str, memory: Trend, *, flat: bool) -> Check:
    """Whether a process stayed under its limit and, when it lived all the time, did not grow."""
    problem = ""
    if memory.largest > LARGEST_MEGABYTES:
        problem = "too much"
    elif flat and memory.end - memory.begin > GROWTH_MEGABYTES:
        problem = f"grows by {memory.per_minute:+.1f} MB a minute"
    found = f"largest {memory.largest:.0f}, {memory.begin:.0f} → {memory.end:.0f}, {memory.per_minute:+.2f} a minute"
    limits = f"< {LARGEST_MEGABYTES}, flat" if flat else f"< {LARGEST_MEGABYTES}"
    return Check(f"memory of {name}, MB", limits, found, problem)


def _history_of(viewer: int, signals: Signals) -> dict[int, tuple[float | None, ...]]:
    """Per film (opinion, rating, watched) as the API shows them."""
    films: dict[int, dict[str, float]] = {}
    for (user, item, signal), (value, _) in signals.items():
        if user == viewer:
            films.setdefault(item, {})[signal] = value
    # Stars that were taken back are shown as none.
    return {item: (own.get("opinion"), own.get("rating") or None, own.get("watched")) for item, own in films.items()}


def _served_history(replica: str, viewer: int) -> dict[int, tuple[float | None, ...]]:
    answer = httpx.get(f"{replica}/v1/users/{viewer}/history", params={"limit": 1000}, timeout=10).raise_for_status()
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return {
        entry["item"]["id"]: (
            entry["opinion"],
            entry["rating"],
            None if entry["watched"] is None else float(entry["watched"]),
        )
        for entry in entries
    }

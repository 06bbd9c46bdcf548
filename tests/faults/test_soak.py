"""The soak for half a minute; and that its own parts, plan, ledger and trend, would notice what they are there for."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

import pytest

from services.contracts.events import Action, Event
from tests.faults.oracle import EventKey, Oracle, differences, fact_of, key_of
from tests.faults.soak import Soak, native_clients_log_to, print_summary
from tests.faults.soak_ledger import STEP, Ledger
from tests.faults.soak_plan import Kind, plan
from tests.faults.soak_stack import WEIGHTS
from tests.faults.soak_verdict import check_memory
from tests.faults.soak_watch import trend

SECONDS, KILLS, FREEZES = 25, 7, 1
NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
MICROSECOND = timedelta(microseconds=1)
EVENT = Event.model_validate(
    {"event_id": UUID(int=1), "user_id": 1, "item_id": 1, "action": Action.LIKE, "event_time": NOON}
)
KEY: EventKey = key_of(EVENT)


def test_soak(tmp_path: Path, seed: int, report: Callable[..., None]) -> None:
    """Everybody but one consumer is killed once under load: the shortest of `make soak`."""
    soak = Soak(tmp_path, seed, SECONDS, KILLS, FREEZES)
    with native_clients_log_to(tmp_path / "clients.log"):
        checks = soak.run()
    print_summary(soak, checks)
    report(**soak.counts)
    failed = [check for check in checks if not check.holds]
    assert not failed, f"seed {seed}: {failed}"
    assert soak.counts["events"] > SECONDS * 10, "hardly any load: the soak has shown nothing"


def test_a_plan_is_that_of_its_seed_and_spares_nobody() -> None:
    first, again = (plan(random.Random(7), 60, 9, 2, WEIGHTS) for _ in range(2))
    assert first == again != plan(random.Random(8), 60, 9, 2, WEIGHTS)
    assert [blow.at for blow in first] == sorted(blow.at for blow in first)
    assert [blow.kind for blow in first].count(Kind.KILL) == 9
    assert {blow.victim for blow in first if blow.kind is Kind.KILL} == set(WEIGHTS)
    assert all(0 < blow.at < 60 for blow in first)


def _settled(stored_at: datetime, *, sent_once: bool) -> str:
    """What is wrong when an event that was acknowledged at noon is shown under another time."""
    ledger, stored = Ledger(Oracle()), {KEY: fact_of(EVENT.model_copy(update={"event_time": stored_at}))}
    ledger.acknowledged(EVENT, NOON, sent_once=sent_once)
    ledger.settle(stored)
    return differences(ledger.oracle.expected_events(), stored)


def test_an_event_sent_once_is_shown_as_its_202_said() -> None:
    assert not _settled(NOON, sent_once=True)
    assert "changed" in _settled(NOON + MICROSECOND, sent_once=True)


def test_an_event_sent_again_may_be_shown_under_a_later_time_but_before_the_viewers_next() -> None:
    assert not _settled(NOON + MICROSECOND, sent_once=False)
    assert "changed" in _settled(NOON - MICROSECOND, sent_once=False)
    assert "changed" in _settled(NOON + STEP, sent_once=False)


def test_an_event_without_a_202_may_be_stored_or_not_but_an_acknowledged_one_must() -> None:
    ledger = Ledger(Oracle())
    ledger.unknown(EVENT)
    assert ledger.settle({}) == (0, 1)
    assert ledger.oracle.expected_events() == {}
    assert ledger.settle({KEY: fact_of(EVENT)}) == (1, 0)
    assert ledger.oracle.expected_events() == {KEY: fact_of(EVENT)}
    ledger.acknowledged(EVENT, NOON, sent_once=False)
    ledger.settle({})
    assert "missing 1" in differences(ledger.oracle.expected_events(), {})


@pytest.mark.parametrize(
    ("megabytes_per_second", "offset", "holds"), [(0.0, 140.0, True), (0.1, 140.0, False), (0.0, 301.0, False)]
)
def test_memory_that_grows_or_is_too_much_is_told(megabytes_per_second: float, offset: float, holds: bool) -> None:
    samples = [(float(second), offset + megabytes_per_second * second) for second in range(600)]
    assert check_memory("consumer", trend(samples), flat=True).holds is holds

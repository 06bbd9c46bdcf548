"""Live signals: applied in any order, pruned by what a model holds, forgotten with an erased viewer."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import UUID

from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.inference.history.live import LiveHistory
from services.inference.models.served import load_served
from tests.support.bundles import CREATED, make_bundle

KNOWN, NEW = UserId(7), UserId(99)
BEFORE = datetime(2020, 1, 1, tzinfo=timezone.utc)  # older than the bundle's signals
AFTER = datetime(2026, 1, 1, tzinfo=timezone.utc)


def like(user: UserId, item: int, time: datetime = AFTER) -> Event:
    return Event(user_id=user, item_id=ItemId(item), action=Action.LIKE, event_id=UUID(int=item), event_time=time)


def test_the_same_event_again_changes_neither_the_signals_nor_the_revision() -> None:
    live = LiveHistory()
    live.apply(like(NEW, 1))
    once = live.of(NEW)
    live.apply(like(NEW, 1))
    live.apply(like(NEW, 1, AFTER - timedelta(days=1)))
    assert live.of(NEW) == once
    live.apply(like(NEW, 2))
    assert live.of(NEW).revision != once.revision


def test_a_snapshot_does_not_change_afterwards() -> None:
    live = LiveHistory()
    live.apply(like(NEW, 1))
    before = live.of(NEW).slots
    live.apply(like(NEW, 2))
    assert len(before) == 1


def test_pruning_drops_exactly_what_the_model_has_in_the_same_or_a_newer_version(tmp_path: Path) -> None:
    model = load_served(make_bundle(tmp_path, likes={7: [1, 2]}), "champion", CREATED)
    live = LiveHistory()
    for event in (like(KNOWN, 1, BEFORE), like(KNOWN, 2, AFTER), like(KNOWN, 3, BEFORE), like(NEW, 1, BEFORE)):
        live.apply(event)
    assert live.prune(model.held) == 1
    assert sorted(slot >> 2 for slot in live.of(KNOWN).slots) == [2, 3]
    assert sorted(slot >> 2 for slot in live.of(NEW).slots) == [1]


def test_a_viewer_without_live_signals_takes_no_memory(tmp_path: Path) -> None:
    model = load_served(make_bundle(tmp_path, likes={7: [1, 2]}), "champion", CREATED)
    live = LiveHistory()
    live.apply(like(KNOWN, 1, BEFORE))
    live.prune(model.held)
    assert len(live) == 0
    assert live.of(KNOWN) == live.of(UserId(12345))


def test_an_erased_viewer_is_forgotten_and_cannot_come_back() -> None:
    live = LiveHistory()
    live.apply(like(NEW, 1))
    live.erase(frozenset({NEW}))
    live.apply(like(NEW, 2))
    assert live.is_erased(NEW)
    assert live.of(NEW).slots == {}
    assert not live.is_erased(KNOWN)

"""Any order and number of deliveries give the same state, the one that the contract defines."""

from datetime import datetime, timedelta, timezone
from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import Action, Event
from services.contracts.ids import MAX_ID, ItemId, UserId
from services.contracts.signals import signal_of, signal_version, to_microseconds
from services.inference.history.stamps import SIGNALS, Slots, merge, slot_and_version, unpack

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


@st.composite
def events(draw: st.DrawFn) -> Event:
    action = draw(st.sampled_from(Action))
    return Event(
        user_id=UserId(1),
        item_id=ItemId(draw(st.sampled_from([1, 2, MAX_ID]))),
        action=action,
        value=draw(st.sampled_from([0.5, 3.3, 5.0])) if action is Action.RATE else None,
        event_id=UUID(int=draw(st.integers(0, 5))),
        event_time=START + timedelta(microseconds=draw(st.integers(0, 3))),
    )


def state_of(deliveries: list[Event]) -> Slots:
    state: Slots = {}
    for event in deliveries:
        merge(state, *slot_and_version(event))
    return state


@given(st.lists(events(), max_size=12), st.randoms(use_true_random=False), st.data())
def test_any_permutation_and_redelivery_gives_the_same_state(
    stream: list[Event], random: Random, data: st.DataObject
) -> None:
    again = stream + (data.draw(st.lists(st.sampled_from(stream))) if stream else [])
    random.shuffle(again)
    assert state_of(again) == state_of(stream)


@given(st.lists(events(), max_size=12, unique_by=lambda e: (e.event_time, e.event_id)))
def test_the_latest_version_of_each_signal_wins(stream: list[Event]) -> None:
    expected: dict[tuple[int, str], tuple[int, float]] = {}
    for event in stream:
        signal, value = signal_of(event.action, event.value)
        version = signal_version(to_microseconds(event.event_time), event.event_id, value)
        key = (event.item_id, signal)
        expected[key] = max(expected.get(key, (-1, 0.0)), (version, value))
    found = [unpack(slot, version) for slot, version in state_of(stream).items()]
    assert {(s.item_id, SIGNALS[s.signal]): s.version for s in found} == {k: v for k, (v, _) in expected.items()}
    for live in found:
        assert abs(live.value - expected[live.item_id, SIGNALS[live.signal]][1]) < 1e-6


def test_merge_returns_whether_anything_changed() -> None:
    state: Slots = {}
    assert merge(state, 1, 5)
    assert not merge(state, 1, 5)
    assert not merge(state, 1, 4)
    assert merge(state, 1, 6)

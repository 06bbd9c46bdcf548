"""Several replicas accept events and read each other's from the topic; all of them reach the same state."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contracts.events import Action, Event, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.signals import Signal, signal_of
from services.inference.events.clock import EventClock, complete
from services.inference.history.live import LiveHistory
from services.inference.history.stamps import SIGNALS, unpack

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
VIEWER, FILM = UserId(7), ItemId(50)
X = UUID(int=1)


@dataclass
class Replica:
    """The parts of a replica that decide times and state; ``skew`` is how far its clock is ahead."""

    skew: timedelta = timedelta()
    clock: EventClock = field(default_factory=EventClock)
    live: LiveHistory = field(default_factory=LiveHistory)

    def post(self, event: EventIn, at: datetime = NOW) -> Event:
        """Accept an event and return what goes to the topic."""
        stamped = complete(event, self.clock, self.live, at + self.skew)
        self.live.apply(stamped)
        return stamped

    def signals(self, user: UserId = VIEWER) -> dict[tuple[int, Signal], float]:
        """The viewer's signals: film and signal -> value."""
        found = [unpack(slot, version) for slot, version in self.live.of(user).slots.items()]
        return {(s.item_id, SIGNALS[s.signal]): s.value for s in found}


def event_in(
    action: Action, time: datetime | None = None, event_id: UUID | None = None, value: float | None = None
) -> EventIn:
    return EventIn(user_id=VIEWER, item_id=FILM, action=action, value=value, event_time=time, event_id=event_id)


def test_a_like_that_is_sent_again_after_the_unlike_stays_withdrawn() -> None:
    like = event_in(Action.LIKE, NOW, X)
    for again in (Replica(), None):
        replica = Replica()
        log = [replica.post(like), replica.post(event_in(Action.UNLIKE)), (again or replica).post(like)]
        assert log[0] == log[2]
        replica.live.apply(log[2])
        assert replica.signals() == {(FILM, Signal.OPINION): 0.0}


def test_yesterdays_like_does_not_override_todays_dislike() -> None:
    first, second = Replica(), Replica()
    today = first.post(event_in(Action.DISLIKE, NOW))
    yesterday = first.post(event_in(Action.LIKE, NOW - timedelta(days=1)))
    for event in (yesterday, today):
        second.live.apply(event)
    assert first.signals() == second.signals() == {(FILM, Signal.OPINION): -1.0}


def test_a_batch_sent_newest_first_keeps_the_newest_rating() -> None:
    replica = Replica()
    for days, stars in ((0, 5.0), (1, 4.0), (2, 3.0)):
        replica.post(event_in(Action.RATE, NOW - timedelta(days=days), value=stars))
    assert replica.signals() == {(FILM, Signal.RATING): 5.0}


def test_an_unlike_beats_a_like_from_a_replica_or_a_client_whose_clock_is_ahead() -> None:
    for ahead, stated in ((timedelta(seconds=2), None), (timedelta(), NOW + timedelta(minutes=4))):
        first, second = Replica(skew=ahead), Replica()
        second.live.apply(first.post(event_in(Action.LIKE, stated)))
        first.live.apply(second.post(event_in(Action.UNLIKE)))
        assert first.signals() == second.signals() == {(FILM, Signal.OPINION): 0.0}


@st.composite
def requests(draw: st.DrawFn) -> EventIn:
    """Few viewers, films, times and ids, so that they collide."""
    action = draw(st.sampled_from(Action))
    time = draw(st.none() | st.integers(-3, 3))
    return EventIn(
        user_id=UserId(draw(st.sampled_from([7, 8]))),
        item_id=ItemId(draw(st.sampled_from([50, 51]))),
        action=action,
        value=draw(st.sampled_from([0.5, 3.5, 5.0])) if action is Action.RATE else None,
        event_time=None if time is None else NOW + timedelta(microseconds=time),
        event_id=draw(st.none() | st.integers(0, 2).map(lambda number: UUID(int=number))),
    )


@given(
    posts=st.lists(st.tuples(st.integers(0, 2), requests(), st.integers(0, 4)), min_size=1, max_size=12),
    skews=st.tuples(*[st.integers(-4, 4)] * 3),
    data=st.data(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_order_and_repetition_gives_the_same_state(
    posts: list[tuple[int, EventIn, int]], skews: tuple[int, int, int], data: st.DataObject
) -> None:
    replicas = [Replica(timedelta(microseconds=skew)) for skew in skews]
    topic = [replicas[i].post(event, NOW + timedelta(microseconds=at)) for i, event, at in posts]
    for stored, (_, event, _) in zip(topic, posts, strict=True):
        stated = event.model_dump(exclude_none=True)
        assert stated.items() <= stored.model_dump().items()
    for replica in (*replicas, late := Replica()):
        again = data.draw(st.lists(st.sampled_from(topic), max_size=4))
        for delivered in data.draw(st.permutations([*topic, *again])):
            replica.live.apply(delivered)
    states = [{user: replica.live.of(UserId(user)).slots for user in (7, 8)} for replica in (*replicas, late)]
    assert states == [states[0]] * 4

    # The next event without a time takes effect, whichever replica accepts it.
    last = data.draw(requests()).model_copy(update={"event_time": None})
    sender = data.draw(st.sampled_from(replicas))
    final = sender.post(last)
    for replica in (*replicas, late):
        replica.live.apply(final)
        signal, value = signal_of(last.action, last.value)
        assert replica.signals(last.user_id)[last.item_id, signal] == value

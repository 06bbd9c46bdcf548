"""Times of events: a time that a client states is the client's; a time that we stamp goes forward per viewer."""

from collections import OrderedDict
from datetime import datetime, timedelta
from uuid import uuid4

from services.contracts.events import Event, EventIn
from services.contracts.ids import UserId
from services.inference.history.live import LiveHistory
from services.inference.history.stamps import slot_of, time_of

_STEP = timedelta(microseconds=1)


class EventClock:
    """Stamps events of one producer; remembers the last time of the ``capacity`` viewers seen most recently.

    Not thread-safe: the producer stamps on one thread, in the order in which it sends.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._last: OrderedDict[UserId, datetime] = OrderedDict()
        self._capacity = capacity

    def stamp(
        self, user_id: UserId, stated: datetime | None, now: datetime, replaced: datetime | None = None
    ) -> datetime:
        """Return the time that the client stated, as it is; without one ``max(now, the viewer's last + 1 µs)``.

        A stated time is never moved: the same event sent again, here or to another replica, stays the same event,
        and what happened yesterday does not overtake what happened today. The viewer's last time is the greatest that
        went through this clock, stated or stamped, and ``replaced``: the time of the signal that this event
        replaces, which another replica may have taken in, by a clock that was ahead of ours.
        """
        last = self._last.pop(user_id, None)
        if stated is not None:
            time = stated
        else:
            time = max([now, *(known + _STEP for known in (last, replaced) if known is not None)])
        self._last[user_id] = time if last is None else max(time, last)
        if len(self._last) > self._capacity:
            self._last.popitem(last=False)
        return time


def complete(event: EventIn, clock: EventClock, live: LiveHistory, now: datetime) -> Event:
    """Return the event as it goes to the topic: with the id and the time that its client stated, else with ours."""
    replaced = None
    if event.event_time is None:
        replaced = time_of(live.version_of(event.user_id, slot_of(event)))
    return Event(
        user_id=event.user_id,
        item_id=event.item_id,
        action=event.action,
        value=event.value,
        request_id=event.request_id,
        source=event.source,
        event_id=event.event_id or uuid4(),
        event_time=clock.stamp(event.user_id, event.event_time, now, replaced),
    )

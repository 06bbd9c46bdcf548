"""Event times: a client's time is kept; the times that we assign only increase per viewer."""

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
        """Return the client's time unchanged, or else ``max(now, the viewer's last + 1 µs)``.

        A client's time is never changed: the same event sent again, to any replica, stays the same event, and
        yesterday's event does not override today's. The viewer's last time is the greatest that this clock has returned
        or seen as ``replaced``: the time of the signal that this event replaces, which may come from another replica
        whose clock is ahead of ours.
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
    """Return the event for the topic, with the client's id and time or else our own."""
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

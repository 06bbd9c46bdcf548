"""Times of events: per viewer they only go forward, so that like → unlike keeps its order."""

from collections import OrderedDict
from datetime import datetime, timedelta

from services.contracts.ids import UserId

_STEP = timedelta(microseconds=1)


class EventClock:
    """Stamps events of one producer; remembers the last time of the ``capacity`` viewers seen most recently.

    Not thread-safe: the producer stamps on one thread, in the order in which it sends.
    """

    def __init__(self, capacity: int = 100_000) -> None:
        self._last: OrderedDict[UserId, datetime] = OrderedDict()
        self._capacity = capacity

    def stamp(self, user_id: UserId, claimed: datetime | None, now: datetime) -> datetime:
        """Return ``max(claimed or now, the viewer's last + 1 µs)``."""
        time = claimed or now
        last = self._last.pop(user_id, None)
        if last is not None and time <= last:
            time = last + _STEP
        self._last[user_id] = time
        if len(self._last) > self._capacity:
            self._last.popitem(last=False)
        return time

"""``/v1/events``: viewers' feedback."""

import time
from collections.abc import Sequence

from services.client.connection import Connection
from services.client.errors import ServiceDownError
from services.contracts.events import EventIn
from services.contracts.rest import EventsAccepted, EventsIn

_ROUTE = "/v1/events"
PAUSE_SECONDS = 0.2


class Events:
    """Each method returns once the broker has acknowledged the events, and raises as `Connection.get`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, event: EventIn, *, attempts: int = 1) -> None:
        """Send one event, in up to ``attempts`` tries while the service is briefly unavailable.

        Raises:
            ValueError: ``attempts`` is more than 1 and the event has no id, by which copies count once, or no time,
                without which a late copy would override what the viewer did next.
        """
        if attempts > 1 and (event.event_id is None or event.event_time is None):
            raise ValueError("an event that may be sent twice needs its id and its time")
        started = time.monotonic()
        for attempt in range(1, attempts + 1):
            try:
                self._connection.post(EventsAccepted, _ROUTE, event)
            except ServiceDownError:
                # A viewer is waiting: after a slow failure there is no time for another try.
                if attempt == attempts or time.monotonic() - started > self._connection.timeout_seconds / 2:
                    raise
                time.sleep(PAUSE_SECONDS * attempt)
            else:
                return

    def send_all(self, events: Sequence[EventIn]) -> None:
        """Send events in one request, once."""
        self._connection.post(EventsAccepted, _ROUTE, EventsIn(events=list(events)))

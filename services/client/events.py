"""``/v1/events``: what viewers say."""

import time
from collections.abc import Sequence

from services.client.connection import Connection
from services.client.errors import ServiceDownError
from services.contracts.events import EventIn
from services.contracts.rest import EventsAccepted, EventsIn

_ROUTE = "/v1/events"
PAUSE_SECONDS = 0.2


class Events:
    """Each method returns once the broker has what was sent: the next list reflects it. Raises as `Connection.get`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, event: EventIn, *, attempts: int = 1) -> None:
        """Send one event, up to so many times while the service is away for a moment.

        Raises:
            ValueError: an event that may be sent twice lacks its id, by which it counts once however often it
                arrives, or its time, without which a late copy overtakes what the viewer did next.
        """
        if attempts > 1 and (event.event_id is None or event.event_time is None):
            raise ValueError("an event that may be sent twice needs its id and its time")
        started = time.monotonic()
        for attempt in range(1, attempts + 1):
            try:
                self._connection.post(EventsAccepted, _ROUTE, event)
            except ServiceDownError:
                # A viewer waits for this: a slow failure is not repeated.
                if attempt == attempts or time.monotonic() - started > self._connection.timeout_seconds / 2:
                    raise
                time.sleep(PAUSE_SECONDS * attempt)
            else:
                return

    def send_all(self, events: Sequence[EventIn]) -> None:
        """Send events in one request, once."""
        self._connection.post(EventsAccepted, _ROUTE, EventsIn(events=list(events)))

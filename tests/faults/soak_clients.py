"""Clients of the REST API that retry as they should: the same id and time, until a 202."""

import random
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from uuid import UUID

import httpx

from services.contracts.events import Action, Event, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import EventAccepted, EventsAccepted
from tests.faults.soak_ledger import STEP, Ledger

TIMEOUT_SECONDS = 8
"""Longer than the service waits for Kafka, so that the answer of a service that lives is heard."""
LARGEST_BATCH = 5
RESENT = 0.03
"""Share of the requests that are sent again though they were acknowledged."""
UNKNOWN_FILM = 999_999
ACTIONS = {
    Action.LIKE: 5, Action.UNLIKE: 3, Action.DISLIKE: 2, Action.UNDISLIKE: 1, Action.RATE: 3, Action.UNRATE: 1,
    Action.WATCH: 1, Action.UNWATCH: 1,
}  # fmt: skip


class Client:
    """Acts for viewers of its own, one request at a time, so that the order of a viewer's events is known.

    It chooses each event's id and time once. The time matters as much as the id: stamped by the service, a retry
    that overtakes a request stuck in a frozen replica could come after what the viewer did since.
    """

    def __init__(
        self,
        *,
        replicas: Sequence[str],
        viewers: Sequence[int],
        films: int,
        per_second: float,
        rng: random.Random,
        ledger: Ledger,
        send_bad_record: Callable[[bytes, str], None],
    ) -> None:
        self._replicas = list(replicas)
        self._viewers = list(viewers)
        self._films = films
        self._per_second = per_second
        self._rng = rng
        self._ledger = ledger
        self._send_bad_record = send_bad_record
        self._last = dict.fromkeys(viewers, datetime.now(timezone.utc))
        self._served: dict[int, UUID] = {}
        self._ending, self._giving_up = threading.Event(), threading.Event()
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS)
        self._thread = threading.Thread(target=self._run, name="soak-client", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Begin nothing new; what was begun is sent until it is acknowledged. Returns at once."""
        self._ending.set()

    def join(self, seconds: float) -> None:
        """Wait for that, but no longer than ``seconds``; what has no 202 by then is unknown."""
        self._thread.join(seconds)
        self._giving_up.set()
        self._thread.join(TIMEOUT_SECONDS + 5)
        if self._thread.is_alive():
            self._ledger.accuse("a client hangs")

    def _run(self) -> None:
        begin, sent = time.monotonic(), 0
        try:
            while not self._ending.is_set():
                sent += self._one_round()
                ahead = begin + sent / self._per_second - time.monotonic()
                if ahead < -5:  # after an outage go on at the usual rate: the steady load is the point
                    begin -= ahead
                self._ending.wait(max(0.0, ahead))
        except Exception:
            self._ledger.accuse(traceback.format_exc())

    def _one_round(self) -> int:
        """Do one of the things that clients do; returns how many events that makes."""
        chance = self._rng.random()
        if chance < 0.05:
            self._look_at_a_list()
            return 0
        if chance < 0.08:
            self._send_a_bad_request()
            return 1
        if chance < 0.12:
            self._send_bad_record(*self._bad_record())
            return 1
        viewers = self._rng.sample(self._viewers, self._rng.randint(1, LARGEST_BATCH))
        events = [self._event(viewer) for viewer in viewers]  # one per viewer: a batch in part stored keeps the order
        self._publish(events)
        return len(events)

    def _publish(self, events: list[EventIn]) -> None:
        """Send until acknowledged; sometimes once more after that, as an impatient client or a proxy would."""
        body = {"events": [event.model_dump(mode="json", exclude_none=True) for event in events]}
        once_more = self._rng.random() < RESENT
        attempts = 1
        while (accepted := self._send(body)) is None:
            if self._giving_up.is_set():
                for event in events:
                    self._ledger.unknown(_complete(event, _claimed(event)))
                return
            attempts += 1
            time.sleep(self._rng.uniform(0.1, 0.5))
        self._acknowledged(events, accepted, sent_once=attempts == 1 and not once_more)
        if attempts > 1:
            self._ledger.note("events acknowledged after retries", len(events))
        if once_more:
            self._ledger.note("events sent again after their 202", len(events))
            self._acknowledged(events, self._send(body) or [], sent_once=False)

    def _send(self, body: dict[str, Any]) -> list[EventAccepted] | None:
        """Send events once; None: not acknowledged, and nobody knows whether they are stored."""
        answer = self._request("POST", "/v1/events", json=body)
        if answer is None or answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            self._ledger.note("requests without an answer" if answer is None else "requests answered 503")
            return None
        if answer.status_code != HTTPStatus.ACCEPTED:
            self._ledger.accuse(f"valid events were answered {answer.status_code}: {answer.text}")
            return None
        return EventsAccepted.model_validate_json(answer.content).accepted

    def _acknowledged(self, events: list[EventIn], accepted: list[EventAccepted], *, sent_once: bool) -> None:
        if accepted and [one.event_id for one in accepted] != [event.event_id for event in events]:
            self._ledger.accuse(f"sent {events}, answered {accepted}")
        for event, one in zip(events, accepted, strict=False):
            self._ledger.acknowledged(_complete(event, one.event_time), _claimed(event), sent_once=sent_once)

    def _look_at_a_list(self) -> None:
        viewer = self._rng.choice(self._viewers)
        answer = self._request("GET", f"/v1/users/{viewer}/recommendations")
        if answer is not None and answer.status_code == HTTPStatus.OK:
            self._served[viewer] = UUID(answer.json()["request_id"])
            self._ledger.note("lists served")
        elif answer is not None and answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            self._ledger.accuse(f"a list was answered {answer.status_code}: {answer.text}")

    def _send_a_bad_request(self) -> None:
        """Refused as a whole, the good event in it too: the oracle does not hear of any."""
        good = [self._event(viewer).model_dump(mode="json", exclude_none=True) for viewer in self._viewers[:2]]
        wrong: dict[str, Any] = self._rng.choice([{"item_id": UNKNOWN_FILM}, {"stars": 5}, {"user_id": "7"}])
        answer = self._request("POST", "/v1/events", json={"events": [good[0], good[1] | wrong]})
        if answer is None or answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        self._ledger.note("bad requests refused")
        if answer.status_code != HTTPStatus.UNPROCESSABLE_ENTITY:
            self._ledger.accuse(f"a bad event was answered {answer.status_code}: {answer.text}")

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """Ask a replica; None when no answer came, and then the next one will be asked."""
        try:
            answer = self._http.request(method, self._replicas[0] + path, **arguments)
        except httpx.TransportError:
            answer = None
        if answer is None or answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE or self._rng.random() < 0.1:
            self._replicas.append(self._replicas.pop(0))
        return answer

    def _event(self, viewer: int) -> EventIn:
        self._last[viewer] = max(datetime.now(timezone.utc), self._last[viewer] + STEP)
        (action,) = self._rng.choices(list(ACTIONS), list(ACTIONS.values()))
        return EventIn(
            event_id=UUID(int=self._rng.getrandbits(128), version=4),
            event_time=self._last[viewer],
            user_id=UserId(viewer),
            item_id=ItemId(self._rng.randint(1, self._films)),
            action=action,
            value=self._rng.randint(1, 10) / 2 if action is Action.RATE else None,
            request_id=self._served.pop(viewer, None),
            source="soak",
        )

    def _bad_record(self) -> tuple[bytes, str]:
        """A record that no producer of ours would send, unlike any other, and its key."""
        event = self._event(self._viewers[0]).model_dump_json().encode()
        viewer = str(self._viewers[0])
        bad = [event[:-10], event.replace(b'"soak"', b'"SOAK"'), event.replace(b"{", b'{"schema_version": 9,', 1)]
        return self._rng.choice(bad), viewer


def _claimed(event: EventIn) -> datetime:
    assert event.event_time is not None, "our clients choose the time"
    return event.event_time


def _complete(event: EventIn, event_time: datetime) -> Event:
    return Event.model_validate(event.model_dump() | {"event_time": event_time})

"""The API as the probe's viewer uses it: their list, their likes, a like."""

from dataclasses import dataclass
from typing import Protocol, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ValidationError

from services.contracts.events import Action, EventIn
from services.contracts.ids import PROBE_SOURCE, PROBE_USER, ItemId
from services.contracts.rest import EventsAccepted, History, Recommendations

_Answer = TypeVar("_Answer", bound=BaseModel)
_SHOWN_AT_MOST = 500
"""Characters of an unexpected answer that go into the message."""


class UnreachableError(Exception):
    """No answer: nobody listens, or nobody answered in time."""


class RefusedError(Exception):
    """An answer, but not the one that was asked for."""


@dataclass(frozen=True)
class Shown:
    """A list: its id, and its films in order."""

    request_id: UUID
    films: list[ItemId]


class Api(Protocol):
    """What a round needs. Each call raises UnreachableError or RefusedError, and nothing else."""

    def recommended(self) -> Shown:
        """The viewer's list now."""

    def liked(self) -> list[ItemId]:
        """The films that the viewer likes now."""

    def send(self, action: Action, film: ItemId, request_id: UUID | None = None) -> None:
        """Send an event of the viewer, from the list `request_id`; returns once it is on the topic."""


class HttpApi:
    """The API at one address. Each request has a connection of its own, as different viewers have, so that a balancer
    before several replicas chooses anew each time."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._http = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout_seconds, connect=min(3.0, timeout_seconds)),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def recommended(self) -> Shown:
        """Return the viewer's list."""
        answer = self._ask(Recommendations, "GET", f"/v1/users/{PROBE_USER}/recommendations")
        return Shown(answer.request_id, [item.id for item in answer.items])

    def liked(self) -> list[ItemId]:
        """Return the films that the viewer likes."""
        answer = self._ask(History, "GET", f"/v1/users/{PROBE_USER}/history")
        return [entry.item.id for entry in answer.entries if entry.opinion == 1]

    def send(self, action: Action, film: ItemId, request_id: UUID | None = None) -> None:
        """Send one event."""
        event = EventIn(
            event_id=uuid4(),
            user_id=PROBE_USER,
            item_id=film,
            action=action,
            request_id=request_id,
            source=PROBE_SOURCE,
        )
        self._ask(EventsAccepted, "POST", "/v1/events", event.model_dump_json(exclude_none=True))

    def _ask(self, kind: type[_Answer], method: str, path: str, body: str | None = None) -> _Answer:
        try:
            answer = self._http.request(method, path, content=body, headers={"Content-Type": "application/json"})
            if not answer.is_success:
                raise RefusedError(f"{method} {path}: {answer.status_code} {answer.text[:_SHOWN_AT_MOST]}")
            return kind.model_validate_json(answer.content)
        except ValidationError as error:
            raise RefusedError(f"{method} {path}: {answer.text[:_SHOWN_AT_MOST]!r} is no {kind.__name__}") from error
        except httpx.TransportError as error:
            raise UnreachableError(f"{method} {path} at {self._http.base_url.netloc.decode()}: {error!r}") from error
        except httpx.HTTPError as error:
            raise RefusedError(f"{method} {path}: {error!r}") from error

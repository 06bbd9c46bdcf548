"""The probe's viewer at one address of the API: their list, their likes, a like."""

from dataclasses import dataclass
from uuid import UUID, uuid4

from services.client.recommender import RecommenderClient
from services.contracts.events import Action, EventIn
from services.contracts.ids import PROBE_SOURCE, PROBE_USER, ItemId


@dataclass(frozen=True)
class Shown:
    """A list: its id, and its films in order."""

    request_id: UUID
    films: list[ItemId]


class Viewer:
    """The probe's viewer; every method raises only ApiError."""

    def __init__(self, client: RecommenderClient) -> None:
        self._client = client

    def recommended(self) -> Shown:
        """Return the viewer's list now."""
        answer = self._client.users.recommendations(PROBE_USER)
        return Shown(answer.request_id, [item.id for item in answer.items])

    def liked(self) -> list[ItemId]:
        """Return the films that the viewer likes now."""
        return [entry.item.id for entry in self._client.users.history(PROBE_USER).entries if entry.opinion == 1]

    def send(self, action: Action, film: ItemId, request_id: UUID | None = None) -> None:
        """Send an event of the viewer, from the list `request_id`; returns once it is on the topic."""
        event = EventIn(
            event_id=uuid4(),
            user_id=PROBE_USER,
            item_id=film,
            action=action,
            request_id=request_id,
            source=PROBE_SOURCE,
        )
        self._client.events.send(event)

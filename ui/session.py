"""What this browser session remembers, in one typed object: who watches, what was shown, what was just done."""

from dataclasses import dataclass, field
from uuid import UUID

import streamlit as st

from services.contracts.events import EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import History, Item, Recommendations
from ui import viewer
from ui.client import RecommenderClient

HISTORY_LIMIT = 200
_KEY = "movierecs"


@dataclass(frozen=True)
class Given:
    """Feedback that the service has accepted."""

    event: EventIn
    item: Item


@dataclass(frozen=True)
class Shown:
    """A list as it was served. It stays on the page until something changes it, so that one look is one impression."""

    recommendations: Recommendations
    milliseconds: float


@dataclass
class Session:
    """One viewer's visit. `revision` counts accepted feedback: what was fetched under another one is out of date."""

    viewer: UserId
    revision: int = 0
    last: Given | None = None
    problem: str | None = None
    shown: dict[tuple[int, str | None, int], Shown] = field(default_factory=dict)
    films: dict[ItemId, Item] = field(default_factory=dict)
    _history: tuple[int, History] | None = None

    def accepted(self, event: EventIn, item: Item) -> None:
        """Note accepted feedback; lists and history are fetched anew."""
        self.last = Given(event, item)
        self.refresh()

    def refresh(self) -> None:
        """Forget what was fetched."""
        self.revision += 1
        self.shown.clear()

    def history(self, client: RecommenderClient) -> History:
        """Return the viewer's latest signals, at most `HISTORY_LIMIT`, fetched once per revision."""
        if self._history is None or self._history[0] != self.revision:
            self._history = (self.revision, client.history(self.viewer, HISTORY_LIMIT))
        return self._history[1]

    def opinions(self, client: RecommenderClient) -> dict[ItemId, int]:
        """Return +1 or -1 for each film that the viewer likes or dislikes."""
        return {entry.item.id: entry.opinion for entry in self.history(client).entries if entry.opinion}

    def request_of(self, item: ItemId) -> UUID | None:
        """Return the list, of those on display, that shows ``item``."""
        for shown in self.shown.values():
            if any(film.id == item for film in shown.recommendations.items):
                return shown.recommendations.request_id
        return None


def current() -> Session:
    """Return the session; the first call decides who watches (address, else a new viewer)."""
    if _KEY not in st.session_state:
        st.session_state[_KEY] = Session(viewer.from_address() or viewer.new_id())
    session: Session = st.session_state[_KEY]
    viewer.to_address(session.viewer)
    return session


def become(user: UserId) -> None:
    """Start over as another viewer."""
    st.session_state[_KEY] = Session(user)

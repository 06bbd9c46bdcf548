"""What this browser session remembers, in one typed object: who watches, what was shown, what was just done."""

from dataclasses import dataclass, field
from uuid import UUID

import streamlit as st

from services.client.recommender import RecommenderClient
from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import History, HistoryEntry, Item, Recommendations
from services.contracts.signals import Signal, signal_of
from ui.state import address, viewer
from ui.state.undo import Undo, undo_of

HISTORY_LIMIT = 1_000
"""As many as the service gives at once."""
_KEY = "movierecs"


@dataclass(frozen=True)
class Given:
    """Feedback that the service has accepted, and what takes it back (None: what was before is not known)."""

    event: EventIn
    item: Item
    undo: Undo | None


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
    toast: tuple[str, str] | None = None
    """Text and icon. Like a problem, the next run of the page says it, once."""
    choices: int = 0
    """How often somebody chose who watches: after each, a telephone's drawer closes."""
    shown: dict[tuple[int, str, int], Shown] = field(default_factory=dict)
    films: dict[ItemId, Item] = field(default_factory=dict)
    _history: tuple[int, History] | None = None
    _said: dict[tuple[ItemId, Signal], float] = field(default_factory=dict)
    """What was said in this visit, 0 for what was taken back: no history that was fetched before is newer."""

    def undo_of(self, event: EventIn) -> Undo | None:
        """Return what takes ``event`` back, by what the viewer says of the film now; None when that is not known.

        The same thing said twice in a row (a double click) is taken back as one.
        """
        if self.last and _says(event) == _says(self.last.event):
            return self.last.undo
        signal, _ = signal_of(event.action, event.value)
        if (event.item_id, signal) in self._said:
            return undo_of(event.action, self._said[event.item_id, signal])
        if self._history is None:
            return None
        history = self._history[1]
        entry = next((entry for entry in history.entries if entry.item.id == event.item_id), None)
        if entry is None and history.total > len(history.entries):
            return None
        return undo_of(event.action, value_of(entry, signal) if entry else 0)

    def accepted(self, event: EventIn, item: Item, undo: Undo | None) -> None:
        """Note accepted feedback; lists and history are fetched anew."""
        signal, value = signal_of(event.action, event.value)
        self._said[event.item_id, signal] = value
        self.last = Given(event, item, undo)
        self.refresh()

    def refresh(self) -> None:
        """Forget what was fetched."""
        self.revision += 1
        self.shown.clear()

    def history(self, client: RecommenderClient, *, anew: bool = False) -> History:
        """Return the viewer's latest signals, at most `HISTORY_LIMIT`, fetched once per revision or ``anew``."""
        if anew or self._history is None or self._history[0] != self.revision:
            self._history = (self.revision, client.users.history(self.viewer, HISTORY_LIMIT))
        return self._history[1]

    def request_of(self, item: ItemId) -> UUID | None:
        """Return the list, of those on display, that shows ``item``."""
        for shown in self.shown.values():
            if any(film.id == item for film in shown.recommendations.items):
                return shown.recommendations.request_id
        return None


def _says(event: EventIn) -> tuple[ItemId, Action, float | None]:
    return event.item_id, event.action, event.value


def value_of(entry: HistoryEntry, signal: Signal) -> float:
    """Return what the viewer says of the film; 0: nothing, or nothing any more."""
    value = {Signal.OPINION: entry.opinion, Signal.RATING: entry.rating, Signal.WATCHED: entry.watched}[signal]
    return float(value or 0)


def current() -> Session:
    """Return the session of whoever watches."""
    session: Session = st.session_state[_KEY]
    return session


def follow_address(page: str) -> None:
    """Make the viewer whom the address names the one who watches (else a new one), and the address name them.

    Called once at the start of a run of ``page``. An address that names no viewer keeps the one of this visit; one
    that names somebody impossible does so too, and the session says what is wrong.
    """
    text = address.given(address.VIEWER)
    named = viewer.parse(text)
    if _KEY not in st.session_state or (named and named != current().viewer):
        st.session_state[_KEY] = Session(named or viewer.new_id())
    if text and named is None:
        current().problem = viewer.NOT_AN_ID
    if address.given(address.VIEWER) != str(current().viewer):
        address.choose(address.VIEWER, str(current().viewer))
    address.confirm(page)


def become(user: UserId) -> None:
    """Start over as another viewer; a step of the browser's history."""
    choices = current().choices
    st.session_state[_KEY] = Session(user, choices=choices + 1)
    address.choose(address.VIEWER, str(user))

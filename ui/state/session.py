"""The browser session's state, in one typed object: viewer, lists shown, last action."""

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
"""The most entries that the API returns at once."""
_KEY = "movierecs"


@dataclass(frozen=True)
class Given:
    """Accepted feedback, and its undo (None: the value before is unknown)."""

    event: EventIn
    item: Item
    undo: Undo | None


@dataclass(frozen=True)
class Shown:
    """A list as served. It is kept until something changes it, so that looking at it is one impression."""

    recommendations: Recommendations
    milliseconds: float


@dataclass
class Session:
    """One viewer's visit. `revision` counts accepted feedback; data fetched under an earlier one is stale."""

    viewer: UserId
    revision: int = 0
    last: Given | None = None
    problem: str | None = None
    toast: tuple[str, str] | None = None
    """Text and icon; like a problem, shown once by the next run of the page."""
    choices: int = 0
    """How often a viewer was chosen; each choice closes a phone's drawer."""
    shown: dict[tuple[int, str, int], Shown] = field(default_factory=dict)
    films: dict[ItemId, Item] = field(default_factory=dict)
    _history: tuple[int, History] | None = None
    _said: dict[tuple[ItemId, Signal], float] = field(default_factory=dict)
    """Signals given in this visit, 0 for withdrawn ones; newer than any history fetched before."""

    def undo_of(self, event: EventIn) -> Undo | None:
        """Return the undo of ``event``, from the present signals for the film; None if they are unknown.

        The same feedback twice in a row (a double click) is undone as one.
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
        """Record accepted feedback; lists and history are fetched again."""
        signal, value = signal_of(event.action, event.value)
        self._said[event.item_id, signal] = value
        self.last = Given(event, item, undo)
        self.refresh()

    def refresh(self) -> None:
        """Drop fetched data."""
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
    """Return the present signal for the film; 0: none."""
    value = {Signal.OPINION: entry.opinion, Signal.RATING: entry.rating, Signal.WATCHED: entry.watched}[signal]
    return float(value or 0)


def current() -> Session:
    """Return the present session."""
    session: Session = st.session_state[_KEY]
    return session


def follow_address(page: str) -> None:
    """Switch to the viewer in the address, or to a new one, and write the viewer into the address.

    Called once at the start of a run of ``page``. Without a viewer in the address this visit's viewer is kept; so it is
    with an invalid one, and the session records what is wrong.
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

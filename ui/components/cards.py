"""A row of film cards: poster and feedback buttons."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import streamlit as st

from services.contracts.events import Action
from services.contracts.ids import ItemId
from services.contracts.rest import HistoryEntry, Item, ScoredItem
from ui.components.feedback import give
from ui.components.posters import bar_percent, poster
from ui.state import address, session
from ui.state.undo import WITHDRAW

COLUMNS = 6
MIN_COLUMN_PIXELS = 158
"""Two columns on a telephone."""
FILM_PAGE = "screens/film.py"
LABELS = {
    Action.LIKE: ("Like", "Liked", "thumb_up"),
    Action.DISLIKE: ("Not for me", "Not for you", "thumb_down"),
    Action.WATCH: ("Seen it", "Seen", "visibility"),
}
"""For each button its label while off, its label while on, and its icon."""


def row(
    name: str,
    films: Sequence[Item],
    said: Mapping[ItemId, HistoryEntry],
    *,
    request_id: UUID | None = None,
    ranked: bool = False,
) -> None:
    """Draw one card per film, with a link to the film's page.

    Args:
        name: unique on the page, so that a film may appear in several rows.
        films: in the order to show; bars are drawn for those with scores.
        said: the viewer's feedback by film.
        request_id: the list's id, sent with the feedback.
        ranked: whether to number the cards.
    """
    best = max((film.score for film in films if isinstance(film, ScoredItem)), default=0.0)
    with st.grid(COLUMNS, min_column_width=MIN_COLUMN_PIXELS, gap="small") as cells:
        for rank, film in enumerate(films, 1):
            bar = bar_percent(film.score, best) if isinstance(film, ScoredItem) else None
            with cells.cell(), st.container(key=f"card-{name}-{film.id}"):
                card(name, film, said.get(film.id), rank=rank if ranked else None, bar=bar, request_id=request_id)
                _link(film)


def card(
    row_name: str,
    film: Item,
    said: HistoryEntry | None,
    *,
    rank: int | None = None,
    bar: int | None = None,
    request_id: UUID | None = None,
) -> None:
    """Draw a film's poster and its buttons, in that row; `posters.poster` explains ``rank`` and ``bar``."""
    opinion = (said.opinion if said else None) or 0
    st.html(poster(film, rank=rank, bar=bar))
    with st.container(horizontal=True, key=f"buttons-{row_name}-{film.id}"):
        _button(row_name, film, Action.LIKE, on=opinion > 0, request_id=request_id)
        _button(row_name, film, Action.DISLIKE, on=opinion < 0, request_id=request_id)
        _button(row_name, film, Action.WATCH, on=bool(said and said.watched), request_id=request_id)


def _link(film: Item) -> None:
    now = session.current()
    now.films[film.id] = film
    st.page_link(
        FILM_PAGE,
        label="More like this",
        icon=":material/movie:",
        query_params={address.FILM: str(film.id), address.VIEWER: str(now.viewer)},
    )


def _button(row_name: str, film: Item, action: Action, *, on: bool, request_id: UUID | None) -> None:
    """Draw a button that sends the feedback or, when ``on``, withdraws it."""
    like = action is Action.LIKE
    off_label, on_label, icon = LABELS[action]
    label = on_label if on else off_label
    st.button(
        label,
        key=f"{action.value}-{row_name}-{film.id}",
        icon=f":material/{icon}:",
        type="primary" if on else "secondary",
        help=None if like else f"{label} (click to take it back)" if on else label,
        width="stretch" if like else "content",
        on_click=give,
        args=(WITHDRAW[action] if on else action, film, request_id),
    )

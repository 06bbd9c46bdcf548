"""A grid of film cards: the poster, and what the viewer can say about the film."""

from collections.abc import Mapping, Sequence
from uuid import UUID

import streamlit as st

from services.contracts.events import Action
from services.contracts.ids import ItemId
from services.contracts.rest import Item, ScoredItem
from ui import session
from ui.feedback import UNDO, give
from ui.posters import bar_percent, poster

COLUMNS = 6
MIN_COLUMN_PIXELS = 158
"""Two columns on a telephone."""
FILM_PAGE = "screens/film.py"


def grid(films: Sequence[Item], opinions: Mapping[ItemId, int], *, request_id: UUID | None, ranked: bool) -> None:
    """Draw one card per film, with a link to the film's page.

    Args:
        films: in the order to show; bars are drawn for those with scores.
        opinions: +1 or -1 for films that the viewer likes or dislikes.
        request_id: of the list, to go with the feedback.
        ranked: whether to number the cards.
    """
    best = max((film.score for film in films if isinstance(film, ScoredItem)), default=0.0)
    with st.grid(COLUMNS, min_column_width=MIN_COLUMN_PIXELS, gap="small") as cells:
        for rank, film in enumerate(films, 1):
            bar = bar_percent(film.score, best) if isinstance(film, ScoredItem) else None
            with cells.cell(), st.container(key=f"card-{film.id}"):
                card(film, opinions.get(film.id, 0), rank=rank if ranked else None, bar=bar, request_id=request_id)
                _link(film)


def card(
    film: Item, opinion: int, *, rank: int | None = None, bar: int | None = None, request_id: UUID | None = None
) -> None:
    """Draw a film's poster and its buttons; `ui.posters.poster` explains ``rank`` and ``bar``."""
    st.html(poster(film, rank=rank, bar=bar))
    with st.container(horizontal=True, key=f"buttons-{film.id}"):
        _button(film, Action.LIKE, "Like", "thumb_up", on=opinion > 0, request_id=request_id)
        _button(film, Action.DISLIKE, "Not for me", "thumb_down", on=opinion < 0, request_id=request_id)
        _button(film, Action.WATCH, "Seen it", "visibility", on=False, request_id=request_id)


def _link(film: Item) -> None:
    now = session.current()
    now.films[film.id] = film
    st.page_link(
        FILM_PAGE,
        label="More like this",
        icon=":material/movie:",
        query_params={"item": str(film.id), "viewer": str(now.viewer)},
    )


def _button(film: Item, action: Action, label: str, icon: str, *, on: bool, request_id: UUID | None) -> None:
    """Draw a button that gives the feedback or, when it is ``on``, takes it back."""
    like = action is Action.LIKE
    st.button(
        "Liked" if like and on else label,
        key=f"{action.value}-{film.id}",
        icon=f":material/{icon}:",
        type="primary" if on else "secondary",
        help=None if like else label,
        width="stretch" if like else "content",
        on_click=give,
        args=(UNDO[action] if on else action, film, request_id),
    )

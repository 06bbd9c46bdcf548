"""The viewer's list. Feedback changes it at once."""

import time

import streamlit as st

from services.client.errors import ApiError
from ui.api import client, popular_genres
from ui.components import feedback
from ui.components.cards import row
from ui.components.parts import part
from ui.settings import UiSettings
from ui.state import address, session
from ui.state.session import Session, Shown
from ui.text.words import detail, headline

MAX_GENRES = 12
_KEY = "genre"


def main() -> None:
    """Draw the page."""
    part("list", "Your list", _draw)


def _draw() -> None:
    now = session.current()
    heading, tastes = st.container(), st.container()
    genre = address.given(address.GENRE)
    try:
        shown = _list(now, UiSettings().ui_list_size, genre)
    except ApiError:
        with tastes:
            _tastes("")
        raise
    with tastes:
        _tastes(genre)
    history, recommendations = feedback.what_they_said(), shown.recommendations
    with heading:
        st.title(headline(recommendations.strategy, history), anchor=False)
        st.caption(detail(recommendations.strategy, history))
    feedback.undo_bar()
    if recommendations.items:
        said = feedback.by_film(history)
        row("list", recommendations.items, said, request_id=recommendations.request_id, ranked=True)
    else:
        st.info("Nothing left to recommend here. Try another taste.", icon=":material/check_circle:")
    _footer(shown)


def _tastes(genre: str) -> None:
    """Draw the tastes to choose from, including the one in the address; if they cannot be read, only that one."""
    try:
        offered = popular_genres()[:MAX_GENRES]
    except ApiError:
        offered = []
    if genre and genre not in offered:
        offered = [*offered, genre]
    st.session_state[_KEY] = genre or None
    if offered:
        st.pills("Taste", offered, key=_KEY, label_visibility="collapsed", wrap=False, on_change=_choose)


def _choose() -> None:
    address.choose(address.GENRE, st.session_state[_KEY])


def _list(now: Session, k: int, genre: str) -> Shown:
    key = (now.revision, genre, k)
    if key not in now.shown:
        started = time.perf_counter()
        recommendations = client().users.recommendations(now.viewer, k, genre or None)
        now.shown[key] = Shown(recommendations, (time.perf_counter() - started) * 1000)
    return now.shown[key]


def _footer(shown: Shown) -> None:
    made = shown.recommendations
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.html(
            f'<div class="mr-meta" data-strategy="{made.strategy.value}" data-request="{made.request_id}">'
            f"<b>{made.strategy.value}</b> · model <b>{made.model_version}</b> · {shown.milliseconds:.0f} ms"
            f" · list {made.request_id}</div>",
            width="content",
        )
        st.button("New list", key="refresh", icon=":material/refresh:", on_click=session.current().refresh)


main()

"""The viewer's list. Feedback changes it at once."""

import time

import streamlit as st

from ui import feedback, session
from ui.api import client, popular_genres
from ui.cards import grid
from ui.session import Session, Shown
from ui.settings import UiSettings
from ui.words import detail, headline

MAX_GENRES = 12


def main() -> None:
    """Draw the page."""
    now = session.current()
    heading = st.container()
    genre = st.pills("Taste", popular_genres()[:MAX_GENRES], key="genre", label_visibility="collapsed", wrap=False)
    shown = _list(now, UiSettings().ui_list_size, genre)
    recommendations, history = shown.recommendations, now.history(client())
    with heading:
        st.title(headline(recommendations.strategy, history), anchor=False)
        st.caption(detail(recommendations.strategy, history))
    feedback.undo_bar()
    if recommendations.items:
        opinions = now.opinions(client())
        grid(recommendations.items, opinions, request_id=recommendations.request_id, ranked=True)
    else:
        st.info("Nothing left to recommend here. Try another taste.", icon=":material/check_circle:")
    _footer(shown)


def _list(now: Session, k: int, genre: str | None) -> Shown:
    key = (now.revision, genre, k)
    if key not in now.shown:
        started = time.perf_counter()
        recommendations = client().recommendations(now.viewer, k, genre)
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

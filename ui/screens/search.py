"""Find films by title, and say what you think of them."""

import streamlit as st

from ui import feedback, session
from ui.api import client
from ui.cards import grid

RESULTS = 24


def main() -> None:
    """Draw the page."""
    now = session.current()
    st.title("Search", anchor=False)
    query = st.text_input(
        "Title", key="query", placeholder="A title, or a part of one", icon=":material/search:",
        label_visibility="collapsed",
    ).strip()  # fmt: skip
    feedback.undo_bar()
    films = client().search(query, RESULTS) if query else client().popular(RESULTS).items
    if not films:
        st.info("No film has such a title.", icon=":material/search_off:")
        return
    st.caption(f"{len(films)} {'film' if len(films) == 1 else 'films'}" if query else "Popular now")
    grid(films, now.opinions(client()), request_id=None, ranked=False)


main()

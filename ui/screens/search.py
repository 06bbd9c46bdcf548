"""Find films by title, and say what you think of them."""

import streamlit as st

from ui import address, feedback, session
from ui.api import client, what_they_said
from ui.cards import grid

RESULTS = 24
_KEY = "query"


def main() -> None:
    """Draw the page."""
    now = session.current()
    st.title("Search", anchor=False)
    query = address.given(address.QUERY)
    st.session_state[_KEY] = query
    st.text_input(
        "Title", key=_KEY, placeholder="A title, or a part of one", icon=":material/search:",
        label_visibility="collapsed", on_change=_choose,
    )  # fmt: skip
    feedback.undo_bar()
    films = client().items.search(query, RESULTS) if query else client().items.popular(RESULTS).items
    if not films:
        st.info("No film has such a title.", icon=":material/search_off:")
        return
    st.caption(f"{len(films)} {'film' if len(films) == 1 else 'films'}" if query else "Popular now")
    history = what_they_said(now)
    grid(films, {entry.item.id: entry for entry in history.entries} if history else {}, request_id=None, ranked=False)


def _choose() -> None:
    address.choose(address.QUERY, st.session_state[_KEY].strip())


main()

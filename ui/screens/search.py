"""Search films by title and give feedback."""

import streamlit as st

from ui.api import client
from ui.components import feedback
from ui.components.cards import row
from ui.components.parts import part
from ui.state import address

RESULTS = 24
_KEY = "query"


def main() -> None:
    """Draw the page."""
    st.title("Search", anchor=False)
    query = address.given(address.QUERY)
    st.session_state[_KEY] = query
    st.text_input(
        "Title", key=_KEY, placeholder="A title, or a part of one", icon=":material/search:",
        label_visibility="collapsed", on_change=_choose,
    )  # fmt: skip
    feedback.undo_bar()
    part("found", "Films", lambda: _found(query))


def _found(query: str) -> None:
    films = client().items.search(query, RESULTS) if query else client().items.popular(RESULTS).items
    if not films:
        st.info("No film has such a title.", icon=":material/search_off:")
        return
    st.caption(f"{len(films)} {'film' if len(films) == 1 else 'films'}" if query else "Popular now")
    row("found", films, feedback.by_film(feedback.what_they_said()))


def _choose() -> None:
    address.choose(address.QUERY, st.session_state[_KEY].strip())


main()

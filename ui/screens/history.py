"""What the viewer said, latest first; likes and dislikes can be taken back."""

import streamlit as st

from services.contracts.events import Action
from services.contracts.rest import HistoryEntry
from ui import feedback, session
from ui.api import client

OPINION_OF = {1: Action.LIKE, -1: Action.DISLIKE}


def main() -> None:
    """Draw the page."""
    now = session.current()
    st.title("History", anchor=False)
    history = now.history(client())
    feedback.undo_bar()
    if not history.entries:
        st.info("Nothing yet. What you like, rate or have seen shows up here.", icon=":material/history:")
        st.page_link("screens/for_you.py", label="To your list", icon=":material/recommend:")
        return
    more = f", the latest {len(history.entries)} of them here" if history.total > len(history.entries) else ""
    st.caption(f"{history.total:,} {'film' if history.total == 1 else 'films'}{more}")
    for entry in history.entries:
        _row(entry)


def _row(entry: HistoryEntry) -> None:
    film = entry.item
    with st.container(horizontal=True, vertical_alignment="center", border=True, key=f"row-{film.id}"):
        year = f" ({film.year})" if film.year else ""
        st.markdown(
            f"**{feedback.escaped(film.title)}**{year}  \n"
            f"{said(entry)} :gray[· {entry.updated_at:%d %b %Y, %H:%M} UTC]",
            width="stretch",
        )
        if entry.opinion:
            st.button(
                "Undo",
                key=f"undo-{film.id}",
                icon=":material/undo:",
                on_click=feedback.give,
                args=(feedback.UNDO[OPINION_OF[entry.opinion]], film, None),
            )


def said(entry: HistoryEntry) -> str:
    """Return the entry's signals in words, as Streamlit's Markdown."""
    parts = []
    if entry.opinion:
        parts.append(":material/thumb_up: liked" if entry.opinion > 0 else ":material/thumb_down: not for you")
    if entry.rating is not None:
        parts.append(f":material/star: {entry.rating:g}")
    if entry.watched:
        parts.append(":material/visibility: seen")
    return " · ".join(parts) or "withdrawn"


main()

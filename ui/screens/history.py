"""The viewer's feedback, latest first; each signal can be withdrawn."""

import streamlit as st

from services.contracts.events import Action
from services.contracts.rest import HistoryEntry
from ui.api import client
from ui.components import feedback
from ui.state import address, session
from ui.text.markdown import escaped

ROWS = 200


def main() -> None:
    """Draw the page."""
    now = session.current()
    st.title("History", anchor=False)
    feedback.undo_bar()
    history = now.history(client(), anew=True)  # the viewer may have given feedback elsewhere
    if not history.entries:
        st.info("Nothing yet. What you like, rate or have seen shows up here.", icon=":material/history:")
        st.page_link(
            "screens/for_you.py",
            label="To your list",
            icon=":material/recommend:",
            query_params={address.VIEWER: str(now.viewer)},
        )
        return
    entries = history.entries[:ROWS]
    more = f", the latest {len(entries)} of them here" if history.total > len(entries) else ""
    st.caption(f"{history.total:,} {'film' if history.total == 1 else 'films'}{more}")
    for entry in entries:
        _row(entry)


def _row(entry: HistoryEntry) -> None:
    film = entry.item
    with st.container(horizontal=True, vertical_alignment="center", border=True, key=f"row-{film.id}"):
        year = f" ({film.year})" if film.year else ""
        st.markdown(
            f"**{escaped(film.title)}**{year}  \n{said(entry)} :gray[· {entry.updated_at:%d %b %Y, %H:%M} UTC]",
            width="stretch",
        )
        if entry.opinion:
            action, what = (Action.UNLIKE, "like") if entry.opinion > 0 else (Action.UNDISLIKE, "dislike")
            _take_back("undo", what, action, entry)
        if entry.rating:
            _take_back("unrate", "stars", Action.UNRATE, entry)
        if entry.watched:
            _take_back("unwatch", "seen", Action.UNWATCH, entry)


def _take_back(key: str, what: str, action: Action, entry: HistoryEntry) -> None:
    st.button(
        f"Undo {what}",
        key=f"{key}-{entry.item.id}",
        icon=":material/undo:",
        on_click=feedback.give,
        args=(action, entry.item, None),
    )


def said(entry: HistoryEntry) -> str:
    """Return the entry's signals in words, as Streamlit's Markdown."""
    parts = []
    if entry.opinion:
        parts.append(":material/thumb_up: liked" if entry.opinion > 0 else ":material/thumb_down: not for you")
    if entry.rating:
        parts.append(f":material/star: {entry.rating:g}")
    if entry.watched:
        parts.append(":material/visibility: seen")
    return " · ".join(parts) or "withdrawn"


main()

"""Like, dislike, seen and their undo, as callbacks of buttons: sent before the page is drawn again."""

from datetime import datetime, timezone
from uuid import UUID, uuid4

import streamlit as st

from services.contracts.events import Action, EventIn
from services.contracts.rest import Item
from ui import session
from ui.api import client
from ui.errors import ApiError

SOURCE = "ui"
UNDO = {Action.LIKE: Action.UNLIKE, Action.DISLIKE: Action.UNDISLIKE}
"""A like or a dislike can be withdrawn; having seen a film cannot."""
DONE = {
    Action.LIKE: ("You like", ":material/thumb_up:"),
    Action.DISLIKE: ("Not for you:", ":material/thumb_down:"),
    Action.WATCH: ("You have seen", ":material/visibility:"),
    Action.UNLIKE: ("Like withdrawn:", ":material/undo:"),
    Action.UNDISLIKE: ("Dislike withdrawn:", ":material/undo:"),
}


def give(action: Action, item: Item, request_id: UUID | None) -> None:
    """Send the viewer's feedback; on return the next list reflects it, or the session holds the problem."""
    now = session.current()
    event = EventIn(
        event_id=uuid4(),
        event_time=datetime.now(timezone.utc),
        user_id=now.viewer,
        item_id=item.id,
        action=action,
        request_id=request_id,
        source=SOURCE,
    )
    try:
        client().send(event)
    except ApiError as error:
        now.problem = f"{escaped(item.title)}: that did not go through. {error}"
        return
    now.accepted(event, item)
    words, icon = DONE[action]
    st.toast(f"{words} **{escaped(item.title)}**", icon=icon)


def undo_bar() -> None:
    """Draw what was done last, with a button that takes it back where that is possible."""
    last = session.current().last
    if last is None:
        return
    words, icon = DONE[last.event.action]
    with st.container(horizontal=True, vertical_alignment="center", key="last-action"):
        st.markdown(f"{icon} {words} **{escaped(last.item.title)}**", width="content")
        if last.event.action in UNDO:
            st.button(
                "Undo",
                key="undo",
                icon=":material/undo:",
                on_click=give,
                args=(UNDO[last.event.action], last.item, last.event.request_id),
            )


def escaped(text: str) -> str:
    """Return ``text`` for Streamlit's Markdown, taken literally.

    >>> escaped("*batteries* :not: [x]")
    '\\\\*batteries\\\\* \\\\:not\\\\: \\\\[x\\\\]'
    """
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+-.!|~$:" else char for char in text)

"""What a viewer can say about a film and take back, as callbacks of buttons: sent before the page is drawn again."""

from datetime import datetime, timezone
from uuid import UUID, uuid4

import streamlit as st

from services.client.errors import ApiError
from services.contracts.events import Action, EventIn
from services.contracts.rest import Item
from ui import session
from ui.api import client
from ui.markdown import escaped, plain

SOURCE = "ui"
EVENT_ATTEMPTS = 3
"""A service that is away for a moment loses no click."""
DONE = {
    Action.LIKE: ("You like", ":material/thumb_up:"),
    Action.DISLIKE: ("Not for you:", ":material/thumb_down:"),
    Action.WATCH: ("You have seen", ":material/visibility:"),
    Action.RATE: ("Your stars are back:", ":material/star:"),
    Action.UNLIKE: ("Like withdrawn:", ":material/undo:"),
    Action.UNDISLIKE: ("Dislike withdrawn:", ":material/undo:"),
    Action.UNRATE: ("Stars withdrawn:", ":material/undo:"),
    Action.UNWATCH: ("Not seen after all:", ":material/undo:"),
}


def give(action: Action, item: Item, request_id: UUID | None, value: float | None = None) -> None:
    """Send the viewer's feedback; on return the next list reflects it, or the session holds the problem."""
    now = session.current()
    event = EventIn(
        event_id=uuid4(),
        event_time=datetime.now(timezone.utc),
        user_id=now.viewer,
        item_id=item.id,
        action=action,
        value=value,
        request_id=request_id,
        source=SOURCE,
    )
    undo = now.undo_of(event)
    try:
        client().events.send(event, attempts=EVENT_ATTEMPTS)
    except ApiError as error:
        now.problem = f"{escaped(item.title)}: that did not go through. {plain(str(error))}"
        return
    now.accepted(event, item, undo)
    words, icon = DONE[action]
    st.toast(f"{words} **{escaped(item.title)}**", icon=icon)


def undo_bar() -> None:
    """Draw what was done last, with a button that brings back what was before, where that is known."""
    last = session.current().last
    if last is None:
        return
    words, icon = DONE[last.event.action]
    with st.container(horizontal=True, vertical_alignment="center", key="last-action"):
        st.markdown(f"{icon} {words} **{escaped(last.item.title)}**", width="content")
        if last.undo:
            action, value = last.undo
            st.button(
                "Undo",
                key="undo",
                icon=":material/undo:",
                on_click=give,
                args=(action, last.item, last.event.request_id, value),
            )

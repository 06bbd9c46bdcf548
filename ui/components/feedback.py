"""Sending and withdrawing feedback, as callbacks of buttons; and the viewer's feedback so far."""

from datetime import datetime, timezone
from uuid import UUID, uuid4

import streamlit as st

from services.client.errors import ApiError
from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId
from services.contracts.rest import History, HistoryEntry, Item
from ui.api import client
from ui.components.parts import show_error
from ui.state import session
from ui.text.markdown import escaped, plain

SOURCE = "ui"
EVENT_ATTEMPTS = 3
"""Retries, so that a brief outage loses no click."""
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
    """Send the feedback and rerun the whole page, whose lists then reflect it; on failure it shows the reason."""
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
    else:
        now.accepted(event, item, undo)
        words, icon = DONE[action]
        now.toast = (f"{words} **{escaped(item.title)}**", icon)
    st.rerun()  # reruns the whole page, even from a button within a fragment


def undo_bar() -> None:
    """Draw the last action, with an Undo button if the value before it is known."""
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


def what_they_said() -> History | None:
    """Return the viewer's history; None, with a message on the page, if the API does not answer.

    Lists and films can be shown without it.
    """
    try:
        return session.current().history(client())
    except ApiError as error:
        show_error("said", "What you said", error)
        return None


def by_film(history: History | None) -> dict[ItemId, HistoryEntry]:
    """Return the viewer's feedback by film; empty without a history."""
    return {entry.item.id: entry for entry in history.entries} if history else {}

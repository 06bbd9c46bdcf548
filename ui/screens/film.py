"""One film, and the films nearest to it."""

import streamlit as st

from services.client.errors import ApiError
from services.contracts.ids import MAX_ID, ItemId
from services.contracts.rest import Item
from ui import address, feedback, session
from ui.api import client, what_they_said
from ui.cards import card, grid
from ui.markdown import escaped
from ui.words import failed, near

SIMILAR = 12


def main() -> None:
    """Draw the page of the film that the address names."""
    now = session.current()
    text = address.given(address.FILM)
    number = address.parse_id(text)
    if number is None:
        if text:
            st.error(f"A film's id is a whole number from 1 to {MAX_ID:,}.", icon=":material/error:")
        st.info("Choose a film first: each card leads here.", icon=":material/movie:")
        return
    film = now.films.get(ItemId(number)) or client().items.item(ItemId(number))
    _heading(film)
    feedback.undo_bar()
    history = what_they_said(now)
    said = {entry.item.id: entry for entry in history.entries} if history else {}
    st.space("small")
    alone, beside = st.columns([1, 3], gap="large")
    with alone, st.container(key="alone"):
        card(film, said.get(film.id), request_id=now.request_of(film.id))
    with beside:
        try:
            similar = client().items.similar(film.id, SIMILAR)
        except ApiError as error:
            st.warning(failed("Films like this one", error), icon=":material/cloud_off:")
            return
        headline, detail = near(similar.basis)
        st.subheader(headline, anchor=False)
        st.caption(detail)
        if similar.items:
            grid(similar.items, said, request_id=None, ranked=False)
        else:
            st.info("Too few viewers know this film to say what is near it.", icon=":material/help:")


def _heading(film: Item) -> None:
    st.title(escaped(film.title), anchor=False)
    st.caption(" · ".join([str(film.year)] * bool(film.year) + film.genres))


main()

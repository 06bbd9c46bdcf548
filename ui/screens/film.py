"""One film, and similar films."""

from collections.abc import Mapping

import streamlit as st

from services.contracts.ids import MAX_ID, ItemId
from services.contracts.rest import HistoryEntry, Item
from ui.api import client
from ui.components import feedback
from ui.components.cards import card, row
from ui.components.parts import part
from ui.state import address, session
from ui.text.markdown import escaped
from ui.text.words import near

SIMILAR = 12


def main() -> None:
    """Draw the page of the film in the address."""
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
    said = feedback.by_film(feedback.what_they_said())
    st.space("small")
    alone, beside = st.columns([1, 3], gap="large")
    with alone, st.container(key="alone"):
        card("alone", film, said.get(film.id), request_id=now.request_of(film.id))
    with beside:
        part("similar", "Films like this one", lambda: _similar(film.id, said))


def _similar(film: ItemId, said: Mapping[ItemId, HistoryEntry]) -> None:
    similar = client().items.similar(film, SIMILAR)
    headline, detail = near(similar.basis)
    st.subheader(headline, anchor=False)
    st.caption(detail)
    if similar.items:
        row("similar", similar.items, said)
    else:
        st.info("Too few viewers know this film to say what is near it.", icon=":material/help:")


def _heading(film: Item) -> None:
    st.title(escaped(film.title), anchor=False)
    st.caption(" · ".join([str(film.year)] * bool(film.year) + film.genres))


main()

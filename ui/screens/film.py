"""One film, and the films nearest to it."""

import streamlit as st

from services.contracts.ids import ItemId
from services.contracts.rest import Item
from ui import feedback, session
from ui.api import client
from ui.cards import card, grid
from ui.viewer import parse_id
from ui.words import near

SIMILAR = 12


def main() -> None:
    """Draw the page of the film that the address names."""
    now = session.current()
    number = parse_id(st.query_params.get("item"))
    if number is None:
        st.info("Choose a film first: each card leads here.", icon=":material/movie:")
        return
    film = now.films.get(ItemId(number)) or client().item(ItemId(number))
    _heading(film)
    feedback.undo_bar()
    opinions = now.opinions(client())
    st.space("small")
    alone, beside = st.columns([1, 3], gap="large")
    with alone, st.container(key="alone"):
        card(film, opinions.get(film.id, 0), request_id=now.request_of(film.id))
    with beside:
        similar = client().similar(film.id, SIMILAR)
        headline, detail = near(similar.basis)
        st.subheader(headline, anchor=False)
        st.caption(detail)
        if similar.items:
            grid(similar.items, opinions, request_id=None, ranked=False)
        else:
            st.info("Too few viewers know this film to say what is near it.", icon=":material/help:")


def _heading(film: Item) -> None:
    st.title(feedback.escaped(film.title), anchor=False)
    st.caption(" · ".join([str(film.year)] * bool(film.year) + film.genres))


main()

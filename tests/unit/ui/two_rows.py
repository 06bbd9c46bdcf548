"""A page of two rows that have films in common; the screens have one row each."""

import streamlit as st

from services.contracts.ids import ItemId, UserId
from ui.api import client
from ui.components.cards import FILM_PAGE, row
from ui.components.feedback import by_film, what_they_said
from ui.components.parts import part
from ui.state.session import Session


def draw() -> None:
    if "movierecs" not in st.session_state:
        st.session_state["movierecs"] = Session(UserId(42))
    said = by_film(what_they_said())

    def popular() -> None:
        row("popular", client().items.popular(3).items, said)

    def similar() -> None:
        row("similar", client().items.similar(ItemId(9), 31).items, said)

    part("popular", "Popular films", popular)
    part("similar", "Films like Alien", similar)
    st.caption("the end")


st.navigation([st.Page(draw, default=True), st.Page(FILM_PAGE)], position="hidden").run()

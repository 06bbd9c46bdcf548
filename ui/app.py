"""The router: page set-up, who is watching, and the pages."""

from pathlib import Path

import streamlit as st
from pydantic import ValidationError
from streamlit.navigation.page import Page

from services.client.errors import ApiError
from ui.api import client
from ui.components.parts import show_error
from ui.components.style import CLOSE_DRAWER, CSS
from ui.state import address, session, viewer

EXAMPLES = (1, 42, 100, 250)  # ids that every MovieLens data set has
ICON = Path(__file__).with_name("icon.svg")


def main() -> None:
    """Draw the page of the address."""
    st.set_page_config(page_title="MovieRecs", page_icon=ICON, layout="wide")
    st.html(CSS)
    try:
        client()
    except ValidationError as error:
        names = ", ".join(str(e["loc"][0]).upper() for e in error.errors())
        st.error(f"The page is not set up: check {names} in the environment.", icon=":material/settings:")
        return
    pages = [
        st.Page("screens/for_you.py", title="For you", icon=":material/recommend:", default=True),
        st.Page("screens/search.py", title="Search", icon=":material/search:"),
        st.Page("screens/history.py", title="History", icon=":material/history:"),
    ]
    film = st.Page("screens/film.py", title="Film", icon=":material/movie:", visibility="hidden")
    page = st.navigation([*pages, film], position="hidden")
    session.follow_address(page.url_path)
    _links(pages)
    with st.sidebar:
        _viewer()
    _news()
    try:
        page.run()
    except ApiError as error:
        show_error("page", "This page", error)


def _links(pages: list[Page]) -> None:
    """Draw the links to the pages. Streamlit's own links would drop the viewer from the address."""
    with st.container(horizontal=True, key="pages", gap="small"):
        for page in pages:
            st.page_link(page, query_params={address.VIEWER: str(session.current().viewer)})


def _viewer() -> None:
    now = session.current()
    st.subheader("Who is watching?")
    kind = "new here" if viewer.is_new(now.viewer) else "from the data set"
    st.html(f'<div class="mr-viewer" data-viewer="{now.viewer}">Viewer <b>{now.viewer}</b> · {kind}</div>')
    st.button(
        "New viewer", key="new-viewer", icon=":material/person_add:", on_click=lambda: session.become(viewer.new_id())
    )
    st.caption("Or look through someone else's eyes:")
    with st.container(horizontal=True, key="examples", gap="xsmall"):
        for example in EXAMPLES:
            st.button(str(example), key=f"viewer-{example}", on_click=_become, args=(str(example),))
    with st.form("viewer-form", border=False):
        st.text_input("Viewer's id", key="viewer-id", placeholder="e.g. 42")
        st.form_submit_button("Watch as this viewer", width="stretch", on_click=_become_typed)
    # Different for each choice, so that Streamlit runs it for each one, and once when the page is loaded.
    st.html(f"<script>{CLOSE_DRAWER} // {now.choices}</script>", unsafe_allow_javascript=True)


def _become_typed() -> None:
    _become(st.session_state["viewer-id"])


def _become(text: str) -> None:
    """Switch to the viewer with the id in ``text``, or show what is wrong with it."""
    chosen = viewer.parse(text)
    now = session.current()
    if chosen is None:
        now.problem = viewer.NOT_AN_ID
        now.choices += 1
    else:
        session.become(chosen)


def _news() -> None:
    now = session.current()
    if now.problem:
        st.error(now.problem, icon=":material/error:")
    if now.toast:
        text, icon = now.toast
        st.toast(text, icon=icon)
    now.problem = now.toast = None


main()

"""The parts of a page, and the sentence in the place of one that cannot be shown."""

import logging
from collections.abc import Callable

import streamlit as st

from services.client.errors import ApiError, ServiceDownError
from ui.text.words import failed

log = logging.getLogger("ui")


@st.fragment
def part(name: str, what: str, draw: Callable[[], None]) -> None:
    """Draw a part of a page. When the API fails it, a sentence says so, and the rest of the page is drawn all the same.

    A click in it reruns this part alone, and what it was given stays as it was; feedback reruns the whole page.

    Args:
        name: unlike any other part's on the page.
        what: is shown, as a sentence begins with it.
        draw: draws it; may raise ApiError.
    """
    try:
        draw()
    except ApiError as error:
        apologise(name, what, error)


def apologise(name: str, what: str, error: ApiError) -> None:
    """Say that ``what`` cannot be shown, with a button to try again."""
    log.warning("cannot be shown", extra={"part": name, "reason": error.reason})
    if isinstance(error, ServiceDownError):
        st.warning(failed(what, error), icon=":material/cloud_off:")
    else:
        st.error(failed(what, error), icon=":material/error:")
    st.button("Try again", key=f"retry-{name}", icon=":material/refresh:")

"""The parts of a page, each with its own error message."""

import logging
from collections.abc import Callable

import streamlit as st

from services.client.errors import ApiError, ServiceDownError
from ui.text.words import failed

log = logging.getLogger("ui")


@st.fragment
def part(name: str, what: str, draw: Callable[[], None]) -> None:
    """Draw a part of a page as a fragment. If the API fails, a message replaces it; the rest of the page stays.

    A click in it reruns only this part, with the same arguments; feedback reruns the whole page.

    Args:
        name: unique on the page.
        what: the subject of the error message, such as "Your list".
        draw: draws it; may raise ApiError.
    """
    try:
        draw()
    except ApiError as error:
        show_error(name, what, error)


def show_error(name: str, what: str, error: ApiError) -> None:
    """Show that ``what`` cannot be shown, with a button to try again."""
    log.warning("cannot be shown", extra={"part": name, "reason": error.reason})
    if isinstance(error, ServiceDownError):
        st.warning(failed(what, error), icon=":material/cloud_off:")
    else:
        st.error(failed(what, error), icon=":material/error:")
    st.button("Try again", key=f"retry-{name}", icon=":material/refresh:")

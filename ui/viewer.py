"""Who is watching: the id in the page's address, so that a reload or a bookmark keeps it, and new ids."""

import secrets

import streamlit as st

from services.contracts.ids import MAX_ID, UserId

QUERY_PARAMETER = "viewer"
FIRST_NEW_ID = 10**12
"""New viewers' ids start here, far above those of the data sets."""
_NEW_IDS = 9 * FIRST_NEW_ID
"""How many ids new viewers draw from: a collision is out of the question, and an id fits a browser's number."""


def new_id() -> UserId:
    """Return a random id for a viewer whom nobody has seen."""
    return UserId(FIRST_NEW_ID + secrets.randbelow(_NEW_IDS))


def parse_id(text: str | None) -> UserId | None:
    """Return the id written in ``text``, or None when it is not one.

    >>> parse_id(" 42 "), parse_id("0"), parse_id("me"), parse_id(None)
    (42, None, None, None)
    """
    stripped = (text or "").strip()
    if not (stripped.isascii() and stripped.isdigit()) or not 1 <= int(stripped) <= MAX_ID:
        return None
    return UserId(int(stripped))


def from_address() -> UserId | None:
    """Return the viewer that the page's address names."""
    return parse_id(st.query_params.get(QUERY_PARAMETER))


def to_address(viewer: UserId) -> None:
    """Name the viewer in the page's address."""
    if st.query_params.get(QUERY_PARAMETER) != str(viewer):
        st.query_params[QUERY_PARAMETER] = str(viewer)


def is_new(viewer: UserId) -> bool:
    """Whether the id was drawn here rather than coming from a data set."""
    return viewer >= FIRST_NEW_ID

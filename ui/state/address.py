"""The page's address determines what is shown: viewer, film, taste, search text.

Every run reads it, widgets only show its values, and choices are written into it, so that Back, reload and bookmarks
work. Each choice is one step of the browser's history.
"""

import re

import streamlit as st

from services.contracts.ids import MAX_ID

VIEWER = "viewer"
FILM = "item"
GENRE = "genre"
QUERY = "query"
_KEY = "address"
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
"""The most digits of an id; `int` refuses very long numbers."""


def given(name: str) -> str:
    """Return a parameter of the address, stripped; "" if it is missing.

    A parameter given twice is joined to one text, which as an id is refused, rather than one of the two being ignored.
    """
    return " ".join(st.query_params.get_all(name)).strip()


def choose(name: str, value: str | None) -> None:
    """Write a choice into the address; None or "" removes it."""
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)
    if _KEY in st.session_state:
        st.session_state[_KEY] = (st.session_state[_KEY][0], _parameters())


def confirm(page: str) -> None:
    """Make the browser's address the one that this run of ``page`` was asked for.

    A link to the page that is open already runs it without changing the address, and the next click would ask
    for the old one. A link to another page changes it by itself; said again, it would be two steps for Back.
    """
    asked = _parameters()
    before, st.session_state[_KEY] = st.session_state.get(_KEY), (page, asked)
    if before and before[0] == page and before[1] != asked:
        st.query_params.from_dict(asked)


def _parameters() -> dict[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def parse_id(text: str) -> int | None:
    """Return the id written in ``text``, or None when it is not one.

    >>> parse_id(" 42 "), parse_id("0"), parse_id("4_2"), parse_id("٤٢"), parse_id("9" * 5000), parse_id("")
    (42, None, None, None, None, None)
    """
    digits = _NUMBER.fullmatch(text.strip())
    number = int(digits[0]) if digits else 0
    return number if 1 <= number <= MAX_ID else None

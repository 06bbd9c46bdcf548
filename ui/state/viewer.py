"""Viewer ids: parsing, and new ones."""

import secrets

from services.contracts.ids import MAX_ID, UserId
from ui.state.address import parse_id

FIRST_NEW_ID = 10**12
"""New viewers' ids start here, far above those of the data sets."""
_NEW_IDS = 9 * FIRST_NEW_ID
"""The range of new ids: collisions are practically impossible, and ids fit JavaScript's numbers."""
NOT_AN_ID = f"A viewer's id is a whole number from 1 to {MAX_ID:,}, written in digits alone."


def new_id() -> UserId:
    """Return a random id for a new viewer."""
    return UserId(FIRST_NEW_ID + secrets.randbelow(_NEW_IDS))


def parse(text: str) -> UserId | None:
    """Return the viewer's id written in ``text``, or None when it is not one."""
    number = parse_id(text)
    return None if number is None else UserId(number)


def is_new(viewer: UserId) -> bool:
    """Whether the id was drawn here rather than coming from a data set."""
    return FIRST_NEW_ID <= viewer < FIRST_NEW_ID + _NEW_IDS

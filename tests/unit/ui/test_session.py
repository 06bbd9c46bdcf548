"""What a visit remembers: what was said before, as far as it is known."""

from types import SimpleNamespace
from uuid import uuid4

import pytest

from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import History, HistoryEntry
from tests.unit.ui.fake_api import FILMS, NOW
from ui.state.session import Session
from ui.state.undo import Undo

VIEWER = UserId(42)


class _Users:
    """A service that tells the latest opinion of a viewer of so many films."""

    def __init__(self, total: int) -> None:
        self.total = total

    def history(self, user: UserId, limit: int) -> History:
        assert limit >= 1
        entry = HistoryEntry(item=FILMS[0], opinion=-1, rating=0, watched=False, updated_at=NOW)
        return History(user_id=user, total=self.total, entries=[entry])


def an_event(action: Action, item: int, value: float | None = None) -> EventIn:
    return EventIn(event_id=uuid4(), user_id=VIEWER, item_id=ItemId(item), action=action, value=value)


@pytest.mark.parametrize(
    ("item", "action", "total", "undo"),
    [
        (1, Action.LIKE, 1, (Action.DISLIKE, None)),
        (1, Action.LIKE, 9_999, (Action.DISLIKE, None)),
        (1, Action.WATCH, 1, (Action.UNWATCH, None)),
        (2, Action.LIKE, 1, (Action.UNLIKE, None)),
        (2, Action.LIKE, 2, None),
    ],
)
def test_undo_restores_what_is_known_and_is_not_offered_where_a_long_history_may_hide_it(
    *, item: int, action: Action, total: int, undo: Undo | None
) -> None:
    session = Session(VIEWER)
    session.history(SimpleNamespace(users=_Users(total)))  # type: ignore[arg-type]
    assert session.undo_of(an_event(action, item)) == undo


def test_stars_given_twice_are_taken_back_one_by_one() -> None:
    session = Session(VIEWER)
    session.history(SimpleNamespace(users=_Users(1)))  # type: ignore[arg-type]
    for stars, undo in ((3.0, (Action.UNRATE, None)), (4.0, (Action.RATE, 3.0)), (4.0, (Action.RATE, 3.0))):
        event = an_event(Action.RATE, 2, stars)
        assert session.undo_of(event) == undo
        session.accepted(event, FILMS[1], undo)

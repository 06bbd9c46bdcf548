"""Undo of feedback: restores the opinion, stars or visit before it. Pure functions."""

from services.contracts.events import Action

Undo = tuple[Action, float | None]
"""An action and its value."""

WITHDRAW = {
    Action.LIKE: Action.UNLIKE,
    Action.DISLIKE: Action.UNDISLIKE,
    Action.RATE: Action.UNRATE,
    Action.WATCH: Action.UNWATCH,
}
"""For each action, the action that withdraws it."""


def undo_of(action: Action, before: float) -> Undo:
    """Return the action that restores the value ``before`` (0: none) of the signal that ``action`` sets.

    >>> undo_of(Action.LIKE, -1)
    (<Action.DISLIKE: 'dislike'>, None)
    >>> undo_of(Action.LIKE, 0)
    (<Action.UNLIKE: 'unlike'>, None)
    >>> undo_of(Action.UNRATE, 4.5)
    (<Action.RATE: 'rate'>, 4.5)
    """
    if not before:
        return WITHDRAW.get(action, action), None
    if action in (Action.RATE, Action.UNRATE):
        return Action.RATE, before
    if action in (Action.WATCH, Action.UNWATCH):
        return Action.WATCH, None
    return (Action.LIKE if before > 0 else Action.DISLIKE), None

"""One measurement: like a film, then poll the viewer's lists until all are without it."""

from collections.abc import Callable, Sequence

from services.contracts.events import Action
from services.probe.viewer import Viewer

POLL_SECONDS = 0.02


class LateError(Exception):
    """The like was accepted, but a list still showed the film after the time limit."""


class NothingToLikeError(Exception):
    """The lists have no film in common."""


def withdraw(viewer: Viewer) -> None:
    """Take back all likes in the viewer's history, also those that an earlier process left."""
    for film in viewer.liked():
        viewer.send(Action.UNLIKE, film)


def like_to_list(
    viewers: Sequence[Viewer], patience_seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> float:
    """Like a film of the first list; return the seconds until every list is without it.

    All ``viewers`` are the same viewer, each at another replica. The film is one that all lists show, or its absence
    would prove nothing. Time starts when the like is sent, as for a viewer who waits; the resolution is `POLL_SECONDS`
    plus one request to each replica.

    Raises:
        LateError: a list shows the film still.
        NothingToLikeError: no film is in every list.
        ApiError: a call failed.
    """
    first, *others = (viewer.recommended() for viewer in viewers)
    film = next((film for film in first.films if all(film in other.films for other in others)), None)
    if film is None:
        raise NothingToLikeError(f"no film is in all {len(viewers)} lists")
    start = clock()
    viewers[0].send(Action.LIKE, film, first.request_id)
    for number, viewer in enumerate(viewers, start=1):
        while film in viewer.recommended().films:
            if clock() - start > patience_seconds:
                raise LateError(
                    f"list {number} of {len(viewers)} still shows film {film} {patience_seconds:g} s after its like"
                )
            sleep(POLL_SECONDS)
    return clock() - start

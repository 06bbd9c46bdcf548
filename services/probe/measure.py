"""One measurement: like a film, and look at the viewer's lists until it has left them all."""

from collections.abc import Callable, Sequence

from services.contracts.events import Action
from services.probe.viewer import Viewer

POLL_SECONDS = 0.02


class LateError(Exception):
    """The like was accepted, and a list has not followed it in time."""


class NothingToLikeError(Exception):
    """The lists have no film in common."""


def withdraw(viewer: Viewer) -> None:
    """Take back whatever the viewer likes: their history says what, also what an earlier process left."""
    for film in viewer.liked():
        viewer.send(Action.UNLIKE, film)


def like_to_list(
    viewers: Sequence[Viewer], patience_seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> float:
    """Like a film of the first viewer's list; return the seconds until every one's list is without it.

    All are the same viewer, each at a replica of its own.

    The film is one that all the lists show, or its absence would say nothing. The time begins when the like is sent,
    so that it holds what a viewer waits for; it is right to `POLL_SECONDS` and one request to each replica.

    Raises:
        LateError: a list shows the film still.
        NothingToLikeError: no film is in every list.
        ApiError: a call failed.
    """
    first, *others = (viewer.recommended() for viewer in viewers)
    film = next((film for film in first.films if all(film in other.films for other in others)), None)
    if film is None:
        raise NothingToLikeError(f"no film is in every one of {len(viewers)} lists")
    start = clock()
    viewers[0].send(Action.LIKE, film, first.request_id)
    for number, viewer in enumerate(viewers, start=1):
        while film in viewer.recommended().films:
            if clock() - start > patience_seconds:
                raise LateError(
                    f"list {number} of {len(viewers)} shows film {film} {patience_seconds:g} s after its like"
                )
            sleep(POLL_SECONDS)
    return clock() - start

"""One measurement: like a film, and look at the viewer's lists until it has left them all."""

from collections.abc import Callable, Sequence

from services.contracts.events import Action
from services.probe.api import Api, RefusedError

POLL_SECONDS = 0.02


class LateError(Exception):
    """The like was accepted, and a list has not followed it in time."""


def withdraw(api: Api) -> None:
    """Take back whatever the viewer likes: their history says what, also what an earlier process left."""
    for film in api.liked():
        api.send(Action.UNLIKE, film)


def like_to_list(
    apis: Sequence[Api], patience_seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> float:
    """Like a film of the first API's list; return the seconds until the list of every one is without it.

    The film is one that all the lists show, or its absence would say nothing. The time begins when the like is sent,
    so that it holds what a viewer waits for; it is right to `POLL_SECONDS` and one request to each API.

    Raises:
        LateError: a list shows the film still.
        UnreachableError, RefusedError: an API failed, or the lists have no film in common.
    """
    first, *others = (api.recommended() for api in apis)
    film = next((film for film in first.films if all(film in other.films for other in others)), None)
    if film is None:
        raise RefusedError(f"no film is in every one of {len(apis)} lists")
    start = clock()
    apis[0].send(Action.LIKE, film, first.request_id)
    for number, api in enumerate(apis, start=1):
        while film in api.recommended().films:
            if clock() - start > patience_seconds:
                raise LateError(f"list {number} of {len(apis)} shows film {film} {patience_seconds:g} s after its like")
            sleep(POLL_SECONDS)
    return clock() - start

"""A small stand-in for the inference service, made of the contract's own models; for the page's unit tests alone."""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

import uvicorn
from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from services.contracts.events import EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import (
    PROBLEM_MEDIA_TYPE,
    Basis,
    EventAccepted,
    EventsAccepted,
    FieldError,
    History,
    HistoryEntry,
    Item,
    ItemList,
    ItemSearch,
    Problem,
    Recommendations,
    ScoredItem,
    Strategy,
)
from services.contracts.signals import Signal, signal_of

MODEL_VERSION = "20261121T030000Z-abcdef12"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)

_TITLES = """Star Wars|1977|Action,Adventure,Sci-Fi
The Godfather|1972|Action,Crime,Drama
Fargo|1996|Crime,Drama,Thriller
Toy Story|1995|Animation,Children's,Comedy
The Silence of the Lambs|1991|Drama,Thriller
Raiders of the Lost Ark|1981|Action,Adventure
Blade Runner|1982|Film-Noir,Sci-Fi
Casablanca|1942|Drama,Romance,War
Alien|1979|Action,Horror,Sci-Fi
The Princess Bride|1987|Action,Adventure,Comedy,Romance
Monty Python and the Holy Grail|1974|Comedy
Psycho|1960|Horror,Romance,Thriller
Rear Window|1954|Mystery,Thriller
Singin' in the Rain|1952|Musical,Romance
Unforgiven|1992|Western
Hoop Dreams|1994|Documentary
The Lion King|1994|Animation,Children's,Musical
Chinatown|1974|Film-Noir,Mystery,Thriller
2001: A Space Odyssey|1968|Drama,Mystery,Sci-Fi,Thriller
Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb|1963|Sci-Fi,War
Amadeus|1984|Drama,Mystery
The Wizard of Oz|1939|Adventure,Children's,Drama,Musical
Terminator|1984|Action,Sci-Fi,Thriller
Dances with Wolves|1990|Adventure,Drama,Western
Beauty and the Beast|1991|Animation,Children's,Musical
Young Frankenstein|1974|Comedy,Horror
When Harry Met Sally...|1989|Comedy,Romance
Pulp Fiction|1994|Crime,Drama
The Sting|1973|Comedy,Crime
Groundhog Day|1993|Comedy,Romance
<b>A "Fake" & Bold</b> *Title*||
Aliens|1986|Action,Sci-Fi,Thriller,War"""

FILMS = [
    Item(
        id=ItemId(number),
        title=title,
        year=int(year) if year else None,
        genres=genres.split(",") if genres else [],
    )
    for number, (title, year, genres) in enumerate((line.split("|") for line in _TITLES.splitlines()), 1)
]
BY_ID = {film.id: film for film in FILMS}


@dataclass
class FakeState:
    """What the fake was told, and how it is told to fail."""

    events: list[EventIn] = field(default_factory=list)
    lists: list[uuid.UUID] = field(default_factory=list)
    failing: list[Problem] = field(default_factory=list)
    """Answers to the next requests, in order, instead of the real ones."""
    basis: Basis = Basis.SAME_VIEWERS
    """Of similar lists."""
    refuse_genres: bool = False
    """Whether a genre that no film has is a 422, as in the service."""
    away: set[str] = field(default_factory=set)
    """Ends of paths, such as ``/history``, that answer 503."""

    def signals(self, user: UserId) -> dict[ItemId, dict[Signal, float]]:
        """The viewer's signals, the latest film last."""
        found: dict[ItemId, dict[Signal, float]] = defaultdict(dict)
        for event in self.events:
            if event.user_id == user:
                signal, value = signal_of(event.action, event.value)
                found[event.item_id] = found.pop(event.item_id, {}) | {signal: value}
        return found


def _problem(status: int, title: str, detail: str, *errors: FieldError) -> Problem:
    return Problem(title=title, status=status, detail=detail, errors=list(errors))


def unavailable(detail: str = "No model has been promoted yet.") -> Problem:
    """A 503 as the service sends it."""
    return _problem(503, "Service Unavailable", detail)


def _reply(problem: Problem) -> JSONResponse:
    return JSONResponse(problem.model_dump(mode="json"), problem.status, media_type=PROBLEM_MEDIA_TYPE)


def _scored(films: list[Item]) -> list[ScoredItem]:
    return [ScoredItem(**film.model_dump(), score=1.0 - 0.02 * place) for place, film in enumerate(films)]


def make_app(state: FakeState) -> FastAPI:
    """Return the API over ``state``."""
    app = FastAPI()

    @app.middleware("http")
    async def fail_when_told(request: Request, call_next):  # type: ignore[no-untyped-def]
        if request.url.path.endswith(tuple(state.away)):
            return _reply(unavailable("PostgreSQL does not answer."))
        return _reply(state.failing.pop(0)) if state.failing else await call_next(request)

    @app.get("/v1/users/{user_id}/recommendations", response_model=None)
    def recommendations(user_id: int, k: int = 10, genre: str | None = None) -> Response | BaseModel:
        if state.refuse_genres and genre and not any(genre in film.genres for film in FILMS):
            error = FieldError(field="genre", message=f"there is no genre {genre!r}")
            return _reply(_problem(422, "Unprocessable Entity", "1 error", error))
        signals = state.signals(UserId(user_id))
        liked = {g for i, s in signals.items() if s.get(Signal.OPINION) == 1 for g in BY_ID[i].genres}
        left = [f for f in FILMS if not any(signals.get(f.id, {}).values()) and (genre is None or genre in f.genres)]
        left.sort(key=lambda film: -len(liked & set(film.genres)))
        state.lists.append(uuid.uuid4())
        return Recommendations(
            model_version=MODEL_VERSION,
            items=_scored(left[:k]),
            request_id=state.lists[-1],
            user_id=UserId(user_id),
            model="als",
            strategy=Strategy.LIVE if liked else Strategy.POPULAR,
        )

    @app.get("/v1/items/popular")
    def popular(k: int = 10) -> ItemList:
        return ItemList(model_version=MODEL_VERSION, items=_scored(FILMS[:k]), basis=Basis.POPULAR)

    @app.get("/v1/items/{item_id}/similar")
    def similar(item_id: int, k: int = 10) -> ItemList:
        genres = set(BY_ID[ItemId(item_id)].genres)
        near = sorted((f for f in FILMS if f.id != item_id), key=lambda film: -len(genres & set(film.genres)))
        return ItemList(model_version=MODEL_VERSION, items=_scored(near[:k]), basis=state.basis)

    @app.get("/v1/items/{item_id}", response_model=None)
    def item(item_id: int) -> Response | BaseModel:
        if item_id not in BY_ID:
            return _reply(_problem(404, "Not Found", f"There is no film {item_id}."))
        return BY_ID[ItemId(item_id)]

    @app.get("/v1/items")
    def search(query: str, k: int = 10) -> ItemSearch:
        return ItemSearch(items=[film for film in FILMS if query.lower() in film.title.lower()][:k])

    @app.get("/v1/users/{user_id}/history")
    def history(user_id: int, limit: int = 50) -> History:
        entries = [
            HistoryEntry(
                item=BY_ID[item_id],
                opinion=int(values[Signal.OPINION]) if Signal.OPINION in values else None,
                rating=values.get(Signal.RATING) or None,
                watched=bool(values[Signal.WATCHED]) if Signal.WATCHED in values else None,
                updated_at=NOW,
            )
            for item_id, values in reversed(state.signals(UserId(user_id)).items())
        ]
        return History(user_id=UserId(user_id), total=len(entries), entries=entries[:limit])

    @app.post("/v1/events", status_code=202)
    def events(event: EventIn, user_agent: str = Header()) -> EventsAccepted:
        assert user_agent == "movierecs-ui"
        assert event.event_id
        if all(event.event_id != known.event_id for known in state.events):
            state.events.append(event)
        accepted = EventAccepted(
            event_id=event.event_id, event_time=NOW, action=event.action, partition=0, offset=len(state.events) - 1
        )
        return EventsAccepted(accepted=[accepted])

    return app


@contextmanager
def serving(state: FakeState) -> Iterator[str]:
    """Serve the API over ``state`` for as long as the block lasts; yields its address."""
    server = uvicorn.Server(uvicorn.Config(make_app(state), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert time.monotonic() < deadline, "the stand-in did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":  # to look at the page without the rest of the stack
    import sys

    uvicorn.run(make_app(FakeState()), host="127.0.0.1", port=int(sys.argv[1]))

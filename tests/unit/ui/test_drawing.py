"""Posters and words: pure functions."""

import doctest

import pytest

import ui.components.posters
import ui.state.address
import ui.state.undo
import ui.text.markdown
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import History, HistoryEntry, Item, Strategy
from tests.unit.ui.fake_api import NOW
from ui.components.posters import poster
from ui.state.viewer import FIRST_NEW_ID, new_id
from ui.text.words import detail, headline, reasons

FILM = Item(id=ItemId(7), title="Alien", year=1979, genres=["Action", "Horror", "Sci-Fi"])


@pytest.mark.parametrize("module", [ui.components.posters, ui.state.address, ui.text.markdown, ui.state.undo])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


def test_a_poster_shows_title_year_genres_rank_and_bar() -> None:
    html = poster(FILM, rank=3, bar=40)
    for part in ("Alien", "1979", "Action · Horror · Sci-Fi", ">3<", "width:40%", 'data-item="7"', "skull"):
        assert part in html


def test_a_poster_escapes_what_the_catalogue_says() -> None:
    html = poster(Item(id=ItemId(1), title='<script>"&', year=None, genres=["<b>"]))
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;&quot;&amp;" in html


def test_a_film_without_year_genres_and_score_has_a_poster_too() -> None:
    html = poster(Item(id=ItemId(1), title="?", year=None, genres=[]))
    assert "mr-year" not in html
    assert "mr-bar" not in html
    assert "None" not in html


def _said(*, opinion: int | None = None, rating: float | None = None, watched: bool | None = None) -> HistoryEntry:
    return HistoryEntry(item=FILM, opinion=opinion, rating=rating, watched=watched, updated_at=NOW)


def _history(*entries: HistoryEntry, total: int | None = None) -> History:
    return History(user_id=UserId(1), total=len(entries) if total is None else total, entries=list(entries))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([_said(opinion=1)], "1 like"),
        ([_said(opinion=1)] * 4 + [_said(rating=4.5)], "4 likes and 1 rating"),
        (
            [_said(opinion=1), _said(opinion=-1), _said(rating=3), _said(watched=True), _said(watched=True)],
            "1 like, 1 dislike, 1 rating and 2 films seen",
        ),
        ([_said(opinion=0)], "what you said"),
    ],
)
def test_reasons_count_what_the_viewer_said(entries: list[HistoryEntry], words: str) -> None:
    assert reasons(_history(*entries)) == words


def test_reasons_of_a_long_history_tell_its_length() -> None:
    assert reasons(_history(_said(opinion=1), total=1234)) == "what you said about 1,234 films"


def test_each_strategy_is_explained_in_its_own_words() -> None:
    history = _history(_said(opinion=1))
    assert headline(Strategy.POPULAR, history) == "Popular now"
    assert headline(Strategy.POPULAR_FALLBACK, history) == "Popular now"
    assert headline(Strategy.LIVE, history) == "Because of 1 like"
    assert len({detail(strategy, history) for strategy in Strategy} | {detail(Strategy.POPULAR, _history())}) == 5


def test_new_viewers_have_ids_of_their_own() -> None:
    drawn = {new_id() for _ in range(100)}
    assert len(drawn) == 100
    assert min(drawn) >= FIRST_NEW_ID

"""The pages in Streamlit's AppTest: what they draw, what they send, and how they fail."""

from typing import Any
from uuid import uuid4

import pytest
from streamlit.testing.v1 import AppTest

from services.contracts.events import Action, EventIn
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Basis, FieldError, History, Problem
from tests.unit.ui.conftest import APP, FakeService
from tests.unit.ui.fake_api import FILMS, unavailable
from ui.components import cards
from ui.components.feedback import EVENT_ATTEMPTS
from ui.state.viewer import FIRST_NEW_ID


def films(at: AppTest) -> list[int]:
    """The films on the page, in order."""
    bodies = [element.proto.body for element in at.get("html")]
    return [int(body.split('data-item="')[1].split('"')[0]) for body in bodies if "data-item" in body]


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click()
    return at.run()


def viewer_in_address(at: AppTest) -> int:
    found = at.query_params["viewer"]
    return int(found if isinstance(found, str) else found[0])


def page_text(at: AppTest) -> str:
    elements: list[Any] = [*at.title, *at.caption, *at.markdown, *at.info, *at.warning, *at.error]
    return "\n".join(str(element.value) for element in elements)


def test_the_list_is_drawn_as_cards_in_the_services_order(app: AppTest) -> None:
    app.run()
    assert not app.exception
    assert films(app) == [film.id for film in FILMS[:12]]
    assert app.title[0].value == "Popular now"
    assert {button.label for button in app.button} >= {"Like", "Not for me", "Seen it"}


def test_a_like_is_sent_with_the_lists_request_id_and_changes_the_list_at_once(
    app: AppTest, service: FakeService
) -> None:
    app.run()
    press(app, "like-list-7")
    (event,) = service.state.events
    assert (event.user_id, event.item_id, event.action, event.source) == (42, 7, Action.LIKE, "ui")
    assert event.request_id == service.state.lists[0]
    assert event.event_id is not None
    assert event.event_time is not None
    assert 7 not in films(app)
    assert app.title[0].value == "Because of 1 like"
    assert [toast.value for toast in app.toast] == ["You like **Blade Runner**"]


@pytest.mark.parametrize(
    ("key", "action"),
    [("dislike-list-3", Action.DISLIKE), ("watch-list-3", Action.WATCH)],
)
def test_the_other_buttons_send_their_action_and_the_film_leaves(
    app: AppTest, service: FakeService, key: str, action: Action
) -> None:
    app.run()
    press(app, key)
    assert [event.action for event in service.state.events] == [action]
    assert 3 not in films(app)


def test_undo_withdraws_the_like_with_the_same_request_id_and_the_film_is_back(
    app: AppTest, service: FakeService
) -> None:
    app.run()
    before = films(app)
    press(app, "like-list-7")
    press(app, "undo")
    like, unlike = service.state.events
    assert (unlike.item_id, unlike.action, unlike.request_id) == (7, Action.UNLIKE, like.request_id)
    assert unlike.event_id != like.event_id
    assert films(app) == before
    assert app.title[0].value == "Popular now"


def test_having_seen_a_film_is_undone_too(app: AppTest, service: FakeService) -> None:
    app.run()
    before = films(app)
    press(app, "watch-list-3")
    assert "You have seen" in page_text(app)
    press(app, "undo")
    assert [event.action for event in service.state.events] == [Action.WATCH, Action.UNWATCH]
    assert films(app) == before


def said(service: FakeService) -> list[tuple[int, Action, float | None]]:
    return [(event.item_id, event.action, event.value) for event in service.state.events]


def tell(service: FakeService, action: Action, item: int, value: float | None = None) -> None:
    """What viewer 42 said before this visit."""
    event = EventIn(event_id=uuid4(), user_id=UserId(42), item_id=ItemId(item), action=action, value=value)
    service.state.events.append(event)


def search(at: AppTest, title: str) -> AppTest:
    at.query_params["query"] = title
    return at.switch_page("screens/search.py").run()


@pytest.mark.parametrize("reload", [False, True])
def test_undo_brings_back_the_opinion_before(app: AppTest, service: FakeService, reload: bool) -> None:
    tell(service, Action.DISLIKE, 9)
    search(app.run(), "alien")
    if reload:
        app.run()
    press(app, "like-found-9")
    press(app, "undo")
    assert said(service)[1:] == [(9, Action.LIKE, None), (9, Action.DISLIKE, None)]
    press(app, "undo")
    assert said(service)[-1] == (9, Action.LIKE, None), "an undo is undone too"


def test_undo_of_a_withdrawal_brings_back_what_was_withdrawn(app: AppTest, service: FakeService) -> None:
    for action, value in ((Action.LIKE, None), (Action.RATE, 3.5), (Action.WATCH, None)):
        tell(service, action, 9, value)
    app.run()
    app.switch_page("screens/history.py").run()
    for key in ("undo-9", "unrate-9", "unwatch-9"):
        press(app, key)
        press(app, "undo")
    assert said(service)[3:] == [
        (9, Action.UNLIKE, None),
        (9, Action.LIKE, None),
        (9, Action.UNRATE, None),
        (9, Action.RATE, 3.5),
        (9, Action.UNWATCH, None),
        (9, Action.WATCH, None),
    ]


def test_a_second_opinion_is_undone_to_the_first_without_asking_the_service(app: AppTest, service: FakeService) -> None:
    search(app.run(), "alien")
    press(app, "dislike-found-9")
    service.state.away = {"/history"}
    press(app, "like-found-9")
    press(app, "undo")
    assert [action for _, action, _ in said(service)] == [Action.DISLIKE, Action.LIKE, Action.DISLIKE]


def test_a_double_click_is_undone_as_one(app: AppTest, service: FakeService) -> None:
    service.state.away = {"/history"}
    app.run()
    session = app.session_state["movierecs"]
    session._history = (0, History(user_id=UserId(42), total=0, entries=[]))
    press(app, "like-list-7")
    undo = session.last.undo
    again = session.undo_of(session.last.event)
    assert undo == again == (Action.UNLIKE, None)


def test_without_knowing_what_was_before_no_undo_is_offered(app: AppTest, service: FakeService) -> None:
    service.state.away = {"/history"}
    app.run()
    press(app, "like-list-7")
    assert "You like" in page_text(app)
    assert not [button for button in app.button if button.key == "undo"]


def test_seen_it_shows_its_state_and_takes_it_back(app: AppTest, service: FakeService) -> None:
    search(app.run(), "alien")
    assert app.button(key="watch-found-9").label == "Seen it"
    press(app, "watch-found-9")
    assert app.button(key="watch-found-9").label == "Seen"
    press(app, "watch-found-9")
    assert app.button(key="watch-found-9").label == "Seen it"
    assert [action for _, action, _ in said(service)] == [Action.WATCH, Action.UNWATCH]


@pytest.mark.parametrize(
    ("screen", "away", "shows", "says"),
    [
        ("for_you", {"/history"}, 12, "What you said cannot be shown"),
        ("for_you", {"/popular"}, 12, None),
        ("for_you", {"/recommendations"}, 0, "PostgreSQL does not answer."),
        ("search", {"/history"}, 24, "What you said cannot be shown"),
        ("search", {"/popular"}, 0, "PostgreSQL does not answer."),
        ("film", {"/history"}, 13, "What you said cannot be shown"),
        ("film", {"/similar"}, 1, "Films like this one cannot be shown"),
        ("film", {"/history", "/similar", "/popular", "/recommendations"}, 1, "What you said cannot be shown"),
        ("history", {"/popular", "/similar", "/recommendations"}, 0, None),
    ],
)
def test_every_screen_shows_what_the_rest_of_the_service_gives(
    app: AppTest, service: FakeService, *, screen: str, away: set[str], shows: int, says: str | None
) -> None:
    service.state.away = away
    app.query_params["item"] = "9"
    app.run()
    if screen != "for_you":
        app.switch_page(f"screens/{screen}.py").run()
    assert not app.exception
    assert len(films(app)) == shows
    assert (says in page_text(app)) if says else not app.warning


def test_a_search_that_fails_leaves_the_box_to_search_again(app: AppTest, service: FakeService) -> None:
    app.run()
    service.state.away = {"/items"}
    search(app, "alien")
    assert "PostgreSQL does not answer." in app.warning[0].value
    service.state.away = set()
    app.text_input(key="query").set_value("fargo").run()
    assert films(app) == [3]


def test_a_taste_that_is_refused_leaves_the_others_to_choose(app: AppTest, service: FakeService) -> None:
    app.query_params["genre"] = "**No** :red[such]"
    service.state.refuse_genres = True
    app.run()
    assert not app.exception
    assert app.error[0].value == r"Your list cannot be shown. genre: there is no genre '\*\*No\*\* :red\[such\]'"
    app.pills(key="genre").set_value("Musical").run()
    assert films(app) == [film.id for film in FILMS if "Musical" in film.genres]
    assert app.query_params["genre"] in ("Musical", ["Musical"])


def test_one_look_is_one_impression(app: AppTest, service: FakeService) -> None:
    app.run()
    app.run()
    assert len(service.state.lists) == 1
    press(app, "refresh")
    assert len(service.state.lists) == 2


def test_a_taste_narrows_the_list(app: AppTest) -> None:
    app.run()
    app.pills(key="genre").set_value("Musical").run()
    assert not app.exception
    assert films(app) == [film.id for film in FILMS if "Musical" in film.genres]


def test_the_footer_names_strategy_model_and_request(app: AppTest, service: FakeService) -> None:
    app.run()
    footer = next(e.proto.body for e in app.get("html") if "mr-meta" in e.proto.body)
    assert "popular" in footer
    assert "20261121T030000Z-abcdef12" in footer
    assert str(service.state.lists[0]) in footer
    assert " ms" in footer


def test_the_viewer_is_in_the_address_and_a_new_one_starts_empty(app: AppTest, service: FakeService) -> None:
    app.run()
    press(app, "like-list-7")
    press(app, "new-viewer")
    new = viewer_in_address(app)
    assert new >= FIRST_NEW_ID
    assert app.title[0].value == "Popular now"
    press(app, "like-list-1")
    assert service.state.events[-1].user_id == new


def test_without_an_address_the_visitor_is_a_new_viewer_and_stays_so(app: AppTest) -> None:
    app.query_params.clear()
    app.run()
    viewer = viewer_in_address(app)
    assert viewer >= FIRST_NEW_ID
    app.run()
    assert viewer_in_address(app) == viewer


def test_an_example_viewer_is_one_click_away(app: AppTest, service: FakeService) -> None:
    app.run()
    press(app, "viewer-100")
    press(app, "like-list-1")
    assert service.state.events[-1].user_id == 100


@pytest.mark.parametrize(("typed", "viewer"), [("77", 77), ("me", 42), ("0", 42), ("9" * 30, 42)])
def test_a_typed_id_must_be_one(app: AppTest, typed: str, viewer: int) -> None:
    app.run()
    app.text_input(key="viewer-id").set_value(typed)
    next(button for button in app.button if button.label == "Watch as this viewer").click()
    app.run()
    assert not app.exception
    assert viewer_in_address(app) == viewer
    assert ("whole number" in page_text(app)) == (viewer == 42)


def test_search_finds_films_and_a_liked_one_shows_it(app: AppTest, service: FakeService) -> None:
    app.run()
    app.switch_page("screens/search.py").run()
    app.text_input(key="query").set_value("alien").run()
    assert films(app) == [9, 32]
    press(app, "like-found-9")
    assert service.state.events[0].request_id is None
    assert app.button(key="like-found-9").label == "Liked"
    press(app, "like-found-9")
    assert [event.action for event in service.state.events] == [Action.LIKE, Action.UNLIKE]
    app.text_input(key="query").set_value("no such film").run()
    assert "No film has such a title" in page_text(app)


def test_the_film_page_shows_the_film_and_those_near_it(app: AppTest) -> None:
    app.run()
    app.query_params["item"] = "31"
    app.switch_page("screens/film.py").run()
    assert not app.exception
    assert app.title[0].value == r'\<b\>A "Fake" & Bold\</b\> \*Title\*'
    assert films(app)[0] == 31
    assert len(films(app)) == 13


@pytest.mark.parametrize(
    ("basis", "words"),
    [
        (Basis.SAME_VIEWERS, "Viewers who like it also like"),
        (Basis.SAME_GENRES, "Popular films of its genres"),
        (Basis.POPULAR, "Popular now"),
    ],
)
def test_the_film_page_says_how_the_films_beside_it_were_chosen(
    app: AppTest, service: FakeService, basis: Basis, words: str
) -> None:
    service.state.basis = basis
    app.run()
    app.query_params["item"] = "9"
    app.switch_page("screens/film.py").run()
    assert [heading.value for heading in app.main.subheader] == [words]


@pytest.mark.parametrize(("item", "words"), [("999", "There is no film 999"), ("x", "Choose a film first")])
def test_the_film_page_says_when_there_is_no_such_film(app: AppTest, item: str, words: str) -> None:
    app.run()
    app.query_params["item"] = item
    app.switch_page("screens/film.py").run()
    assert not app.exception
    assert words in page_text(app)


def test_the_history_lists_what_was_said_and_takes_it_back(app: AppTest, service: FakeService) -> None:
    app.run()
    for key in ("like-list-7", "dislike-list-3", "watch-list-2"):
        press(app, key)
    app.switch_page("screens/history.py").run()
    text = page_text(app)
    assert "3 films" in text
    assert text.index("The Godfather") < text.index("Fargo") < text.index("Blade Runner"), "latest first"
    press(app, "undo-3")
    assert (service.state.events[-1].item_id, service.state.events[-1].action) == (3, Action.UNDISLIKE)
    assert "withdrawn" in page_text(app)


def test_the_history_has_what_was_said_elsewhere_since_the_last_look(app: AppTest, service: FakeService) -> None:
    app.run()
    tell(service, Action.RATE, 9, 3.5)
    app.switch_page("screens/history.py").run()
    press(app, "unrate-9")
    assert said(service)[-1] == (9, Action.UNRATE, None)


def test_an_empty_history_says_so(app: AppTest) -> None:
    app.run()
    app.switch_page("screens/history.py").run()
    assert not app.exception
    assert "Nothing yet" in page_text(app)


def test_a_service_without_a_model_gets_a_kind_message_and_a_retry(app: AppTest, service: FakeService) -> None:
    service.state.failing = [unavailable("No model has been promoted yet.")]
    app.run()
    assert not app.exception
    assert "No model has been promoted yet." in app.warning[0].value
    press(app, "retry-list")
    assert not app.warning
    assert films(app)


def test_no_service_at_all_gets_a_kind_message(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERENCE_URL", "http://127.0.0.1:9")
    app.run()
    assert not app.exception
    assert "cannot be reached" in app.warning[0].value
    assert app.button(key="retry-list")


def test_a_like_that_fails_is_told_and_nothing_else_changes(app: AppTest, service: FakeService) -> None:
    app.run()
    before = films(app)
    service.state.failing = [unavailable("Kafka does not answer.")] * EVENT_ATTEMPTS
    press(app, "like-list-7")
    assert not app.exception
    assert "Blade Runner" in app.error[0].value
    assert "Kafka does not answer." in app.error[0].value
    assert films(app) == before
    assert service.state.events == []
    app.run()
    assert not app.error, "said once"


def test_a_refused_like_names_the_field(app: AppTest, service: FakeService) -> None:
    app.run()
    wrong = FieldError(field="item_id", message="no such film")
    service.state.failing = [Problem(title="Unprocessable", status=422, detail="1 error", errors=[wrong])]
    press(app, "like-list-7")
    assert "item_id: no such film" in app.error[0].value


def test_a_missing_setting_is_named(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INFERENCE_URL")
    app.run()
    assert not app.exception
    assert "INFERENCE_URL" in app.error[0].value


@pytest.fixture
def two_rows(app: AppTest, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A page of two rows on the same service as ``app``."""
    monkeypatch.setattr(cards, "FILM_PAGE", str(APP.parent / "screens" / "film.py"))
    return AppTest.from_file("two_rows.py", default_timeout=20).run()


def test_a_film_may_stand_in_two_rows_and_what_is_said_in_one_shows_in_both(
    two_rows: AppTest, service: FakeService
) -> None:
    assert not two_rows.exception
    assert films(two_rows).count(1) == 2
    press(two_rows, "like-popular-1")
    press(two_rows, "watch-similar-2")
    assert said(service) == [(1, Action.LIKE, None), (2, Action.WATCH, None)]
    for row in ("popular", "similar"):
        assert two_rows.button(key=f"like-{row}-1").label == "Liked"
        assert two_rows.button(key=f"watch-{row}-2").label == "Seen"


@pytest.mark.parametrize(("away", "name", "shows"), [("/popular", "popular", 31), ("/similar", "similar", 3)])
def test_a_row_that_fails_says_so_and_spoils_no_other(
    two_rows: AppTest, service: FakeService, away: str, name: str, shows: int
) -> None:
    service.state.away = {away}
    two_rows.run()
    assert not two_rows.exception
    assert len(films(two_rows)) == shows
    what = {"popular": "Popular films", "similar": "Films like Alien"}[name]
    assert [warning.value for warning in two_rows.warning] == [f"{what} cannot be shown. PostgreSQL does not answer."]
    assert two_rows.caption[-1].value == "the end"
    service.state.away = set()
    press(two_rows, f"retry-{name}")
    assert not two_rows.warning
    assert len(films(two_rows)) == 34

"""The page in a real browser on a stand-in for the service: the address says what is shown, Back and reload keep it."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from infra.local.readiness import http_body
from services.contracts.events import Action
from tests.support.browser import chromium
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.unit.ui.fake_api import FakeState, serving

PATIENCE_MS = 30_000
DESKTOP = (1280, 900)
TELEPHONE = (390, 844)


@dataclass(frozen=True)
class Demo:
    """The page's address and what its service was told."""

    url: str
    state: FakeState


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def running() -> Iterator[Demo]:
    state = FakeState()
    with serving(state) as api, tempfile.TemporaryDirectory() as folder:
        port = free_port()
        env = os.environ | {"INFERENCE_URL": api, "UI_METRICS_PORT": "0", "UI_LIST_SIZE": "12"}
        argv = [sys.executable, "-m", "ui", "--server.port", str(port), "--server.address", "127.0.0.1"]
        process = ServiceProcess("ui", argv, Path(folder) / "ui.log", env=env)
        process.start()
        try:
            process.wait_ready(lambda: http_body(f"http://127.0.0.1:{port}/_stcore/health") == "ok", 60)
            yield Demo(f"http://127.0.0.1:{port}", state)
        finally:
            process.close()


@pytest.fixture
def demo(running: Demo) -> Demo:
    running.state.events.clear()
    running.state.away.clear()
    return running


def window(browser: Browser, demo: Demo, size: tuple[int, int]) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, base_url=demo.url)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


@pytest.fixture
def page(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from window(browser, demo, DESKTOP)


@pytest.fixture
def telephone(browser: Browser, demo: Demo) -> Iterator[Page]:
    yield from window(browser, demo, TELEPHONE)


def settled(page: Page) -> None:
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.locator(".mr-poster, [data-testid=stAlert], [class*=st-key-row-]").first.wait_for()
    page.wait_for_timeout(150)  # a run that the last one asked for
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()


def address(page: Page) -> dict[str, str]:
    """The address: the path under an empty name, then the parameters."""
    parts = urlsplit(page.url)
    return {"": parts.path} | {name: values[-1] for name, values in parse_qs(parts.query).items()}


def viewer(page: Page) -> str | None:
    return page.locator(".mr-viewer").get_attribute("data-viewer")


def title(page: Page, words: str) -> None:
    expect(page.get_by_role("heading", name=words, exact=True)).to_be_visible()
    settled(page)


def taste(page: Page, genre: str) -> Locator:
    return page.get_by_test_id("stButtonGroup").get_by_text(genre, exact=True)


def test_back_leads_through_film_taste_and_search_one_step_each(page: Page) -> None:
    page.goto("/?viewer=42")
    settled(page)
    taste(page, "Sci-Fi").click()
    page.wait_for_url("**/?viewer=42&genre=Sci-Fi")
    settled(page)
    page.locator(".st-key-card-list-9 a").click()
    title(page, "Alien")
    assert address(page) == {"": "/film", "item": "9", "viewer": "42"}
    page.get_by_role("link", name="Search", exact=True).click()
    title(page, "Search")
    page.get_by_role("textbox", name="Title").fill("star")
    page.keyboard.press("Enter")
    expect(page.locator(".mr-poster")).to_have_count(1)
    settled(page)
    assert address(page) == {"": "/search", "query": "star", "viewer": "42"}

    page.go_back()
    expect(page.locator(".mr-poster")).to_have_count(24)
    expect(page.get_by_role("textbox", name="Title")).to_have_value("")
    settled(page)
    page.go_back()
    title(page, "Alien")
    page.go_back()
    title(page, "Popular now")
    assert address(page) == {"": "/", "genre": "Sci-Fi", "viewer": "42"}
    assert page.locator(".mr-poster").count() == 7
    page.go_forward()
    title(page, "Alien")


@pytest.mark.parametrize(
    ("path", "films"),
    [
        ("/?viewer=42&genre=Horror", 3),
        ("/search?query=alien&viewer=42", 2),
        ("/film?item=9&viewer=42", 13),
    ],
)
def test_an_address_and_a_reload_show_the_same(page: Page, path: str, films: int) -> None:
    page.goto(path)
    settled(page)
    before = address(page)
    for _ in range(2):
        expect(page.locator(".mr-poster")).to_have_count(films)
        assert viewer(page) == "42"
        page.reload()
        settled(page)
    assert address(page) == before
    assert before["viewer"] == "42"


def test_a_taste_is_taken_back_by_back_and_by_its_own_click(page: Page) -> None:
    page.goto("/?viewer=42")
    settled(page)
    for genre in ("Animation", "Musical"):
        taste(page, genre).click()
        page.wait_for_url(f"**genre={genre}")
        settled(page)
    page.go_back()
    expect(page.locator(".mr-poster")).to_have_count(3)
    settled(page)
    assert address(page)["genre"] == "Animation"
    taste(page, "Animation").click()
    expect(page.locator(".mr-poster")).to_have_count(12)
    settled(page)
    assert "genre" not in address(page)


def test_a_taste_is_forgotten_by_a_link_and_found_again_by_back(page: Page) -> None:
    page.goto("/?viewer=42")
    settled(page)
    taste(page, "Musical").click()
    expect(page.locator(".mr-poster")).to_have_count(4)
    settled(page)
    page.get_by_role("link", name="For you", exact=True).click()
    expect(page.locator(".mr-poster")).to_have_count(12)
    settled(page)
    assert address(page) == {"": "/", "viewer": "42"}
    page.go_back()
    expect(page.locator(".mr-poster")).to_have_count(4)
    settled(page)
    assert address(page) == {"": "/", "viewer": "42", "genre": "Musical"}


def test_trying_again_draws_the_row_that_failed_and_asks_for_nothing_else(page: Page, demo: Demo) -> None:
    demo.state.away = {"/similar"}
    page.goto("/film?item=9&viewer=42")
    title(page, "Alien")
    expect(page.get_by_test_id("stAlert")).to_have_text(re.compile("Films like this one cannot be shown"))
    expect(page.locator(".mr-poster")).to_have_count(1)
    demo.state.away = {"/items/9", "/history"}
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".mr-poster")).to_have_count(13)
    settled(page)
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_feedback_in_a_row_changes_the_whole_page_and_is_told(page: Page, demo: Demo) -> None:
    page.goto("/film?item=9&viewer=42")
    title(page, "Alien")
    page.locator(".st-key-like-similar-32 button").click()
    expect(page.get_by_test_id("stToast")).to_contain_text("You like Aliens")
    expect(page.locator(".st-key-last-action")).to_contain_text("Aliens")
    expect(page.locator(".st-key-like-similar-32 button")).to_have_text("thumb_upLiked")
    page.locator(".st-key-undo button").click()
    expect(page.locator(".st-key-like-similar-32 button")).to_have_text("thumb_upLike")
    assert [event.action for event in demo.state.events] == [Action.LIKE, Action.UNLIKE]


def test_back_brings_the_viewer_before_and_their_list(page: Page, demo: Demo) -> None:
    page.goto("/?viewer=42")
    settled(page)
    page.locator(".st-key-viewer-100 button").click()
    page.wait_for_url("**viewer=100")
    settled(page)
    page.go_back()
    expect(page.locator(".mr-viewer")).to_have_attribute("data-viewer", "42")
    settled(page)
    page.locator(".st-key-like-list-1 button").click()
    expect(page.locator('.mr-poster[data-item="1"]')).to_have_count(0)
    assert [event.user_id for event in demo.state.events] == [42]


def test_a_like_on_a_films_page_stays_on_that_film(page: Page, demo: Demo) -> None:
    page.goto("/film?item=9&viewer=42")
    title(page, "Alien")
    page.locator(".st-key-card-similar-32 a").click()
    title(page, "Aliens")
    assert address(page)["item"] == "32"
    page.locator(".st-key-alone .st-key-like-alone-32 button").click()
    expect(page.locator(".st-key-alone .st-key-like-alone-32 button")).to_have_text("thumb_upLiked")
    title(page, "Aliens")
    assert [(event.item_id, event.action) for event in demo.state.events] == [(32, Action.LIKE)]
    page.go_back()
    title(page, "Alien")
    page.go_forward()
    title(page, "Aliens")
    page.reload()
    title(page, "Aliens")


def test_the_pages_links_forget_the_films_and_the_tastes_but_not_the_viewer(page: Page) -> None:
    page.goto("/?viewer=42&genre=Horror")
    settled(page)
    page.get_by_role("link", name="For you", exact=True).click()
    expect(page.locator(".mr-poster")).to_have_count(12)
    settled(page)
    assert address(page) == {"": "/", "viewer": "42"}
    page.get_by_role("link", name="History", exact=True).click()
    title(page, "History")
    assert address(page) == {"": "/history", "viewer": "42"}
    page.go_back()
    title(page, "Popular now")


@pytest.mark.parametrize("choice", ["new-viewer", "viewer-100", "form", "wrong"])
def test_the_drawer_of_a_telephone_closes_after_a_choice(telephone: Page, choice: str) -> None:
    telephone.goto("/?viewer=42")
    settled(telephone)
    telephone.get_by_test_id("stExpandSidebarButton").click()
    sidebar = telephone.get_by_test_id("stSidebar")
    expect(sidebar).to_have_attribute("data-collapsed", "false")
    if choice in ("form", "wrong"):
        telephone.get_by_role("textbox", name="Viewer's id").fill("77" if choice == "form" else "me")
        telephone.keyboard.press("Enter")
    else:
        telephone.locator(f".st-key-{choice} button").click()
    expect(sidebar).to_have_attribute("data-collapsed", "true")
    settled(telephone)
    assert (viewer(telephone) == "42") == (choice == "wrong")
    if choice == "wrong":
        expect(telephone.get_by_test_id("stAlert")).to_contain_text("whole number")
    telephone.get_by_test_id("stExpandSidebarButton").click()
    expect(sidebar).to_have_attribute("data-collapsed", "false")
    telephone.wait_for_timeout(300)
    expect(sidebar).to_have_attribute("data-collapsed", "false")
    telephone.reload()
    settled(telephone)
    expect(sidebar).to_have_attribute("data-collapsed", "true")


ODD = {
    "5,000 digits": "9" * 5000, "underscore": "4_2", "nul": "\x00", "10 kB": "x" * 10_000, "emoji": "🎬",
    "arabic digits": "٤٢", "markup": "<script>alert(1)</script>**b**", "sign": "+42", "float": "4e1",
    "past the last": str(2**53), "direction": "\u202e42", "empty": "",
}  # fmt: skip


ODD_TEXT = ("5,000 digits", "nul", "markup", "direction", "empty")
OTHERS = ("/?viewer=42&genre={}", "/search?viewer=42&query={}", "/film?item={}")


@pytest.mark.parametrize(
    ("where", "odd"),
    [("/?viewer={}", odd) for odd in ODD] + [(where, odd) for where in OTHERS for odd in ODD_TEXT],
)
def test_an_odd_address_gets_a_page_and_a_sentence(page: Page, where: str, odd: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(where.format(quote(ODD[odd], safe="")))
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert int(viewer(page) or 0) >= 1
    if "viewer={}" in where and ODD[odd]:
        expect(page.get_by_test_id("stAlert")).to_contain_text("whole number")
    assert errors == []


@pytest.mark.parametrize(
    "where",
    [f"/?viewer={raw}" for raw in ("%ff%fe", "%ed%a0%80", "42&viewer=43", "%0d%0a42")]
    + [f"{start}%ff%fe" for start in ("/?genre=", "/search?query=", "/film?item=")],
)
def test_bytes_that_are_not_text_get_a_page_too(page: Page, where: str) -> None:
    page.goto(where)
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert int(viewer(page) or 0) >= 1

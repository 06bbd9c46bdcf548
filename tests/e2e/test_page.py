"""The page in a real browser on the running stack: a new viewer likes three films and sees the list become theirs."""

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import RunningStack
from tests.support.browser import chromium

PATIENCE_MS = 30_000
LIKES = 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, running_stack: RunningStack) -> Iterator[Page]:
    """A visitor's first look: a window of its own, no address but the page's."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=running_stack.ui_url)
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context.new_page()
    context.close()


def settled(page: Page) -> None:
    """Wait until Streamlit has drawn everything that the last click asked for."""
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    page.locator(".mr-poster, [data-testid=stAlert]").first.wait_for()


def shown(page: Page) -> list[str]:
    """Ids of the films on the page, in order."""
    settled(page)
    ids = page.locator(".mr-poster").evaluate_all("posters => posters.map(poster => poster.dataset.item)")
    return [str(item) for item in ids]


def like(page: Page, item: str) -> None:
    page.locator(f".st-key-like-list-{item} button").click()
    expect(page.locator(f'.mr-poster[data-item="{item}"]')).to_have_count(0)
    settled(page)


def footer(page: Page) -> Locator:
    return page.locator(".mr-meta")


def viewer(page: Page) -> int:
    return int(page.locator(".mr-viewer").get_attribute("data-viewer") or 0)


def test_three_likes_make_a_new_viewers_list_personal(page: Page, running_stack: RunningStack) -> None:
    page.goto("/")
    popular = shown(page)
    assert len(popular) == 24
    expect(page.get_by_role("heading", name="Popular now")).to_be_visible()
    expect(footer(page)).to_have_attribute("data-strategy", "popular")

    liked = []
    for _ in range(LIKES):
        first = shown(page)[0]
        like(page, first)
        liked.append(first)

    expect(page.get_by_role("heading", name=f"Because of {LIKES} likes")).to_be_visible()
    expect(footer(page)).to_have_attribute("data-strategy", "live")
    personal = shown(page)
    assert not set(liked) & set(personal), "what the viewer has judged is left out"
    assert personal[:10] != [item for item in popular if item not in liked][:10], "the order is the viewer's own"

    history = httpx.get(f"{running_stack.inference_url}/v1/users/{viewer(page)}/history").json()
    assert {str(entry["item"]["id"]) for entry in history["entries"] if entry["opinion"] == 1} == set(liked)


def test_undo_brings_the_film_back(page: Page) -> None:
    page.goto("/")
    before = shown(page)
    like(page, before[1])
    page.locator(".st-key-undo button").click()
    expect(page.locator(f'.mr-poster[data-item="{before[1]}"]')).to_have_count(1)
    assert shown(page) == before


def test_undo_brings_back_the_opinion_before_and_seen_it_is_taken_back(page: Page, running_stack: RunningStack) -> None:
    film = httpx.get(f"{running_stack.inference_url}/v1/items/popular?k=1").json()["items"][0]["id"]

    def said() -> dict[str, object]:
        history = httpx.get(f"{running_stack.inference_url}/v1/users/{viewer(page)}/history").json()
        (entry,) = history["entries"]
        return {name: entry[name] for name in ("opinion", "rating", "watched")}

    def click(button: str) -> None:
        page.locator(button).locator("button:visible").first.click()
        settled(page)
        page.locator(".st-key-last-action").wait_for()

    page.goto(f"/film?item={film}")
    settled(page)
    alone = ".st-key-alone"
    click(f"{alone} .st-key-dislike-alone-{film}")
    expect(page.locator(f"{alone} .st-key-dislike-alone-{film}")).to_contain_text("Not for you")
    click(f"{alone} .st-key-like-alone-{film}")
    expect(page.locator(f"{alone} .st-key-like-alone-{film}")).to_contain_text("Liked")
    click(".st-key-undo")
    expect(page.locator(f"{alone} .st-key-dislike-alone-{film}")).to_contain_text("Not for you")
    assert said() == {"opinion": -1, "rating": None, "watched": None}

    watch = page.locator(f"{alone} .st-key-watch-alone-{film}").locator("button:visible").first
    click(f"{alone} .st-key-watch-alone-{film}")
    expect(watch).to_have_text("visibilitySeen")
    click(f"{alone} .st-key-watch-alone-{film}")
    expect(watch).to_have_text("visibilitySeen it")
    assert said() == {"opinion": -1, "rating": None, "watched": False}

    httpx.post(
        f"{running_stack.inference_url}/v1/events",
        json={"user_id": viewer(page), "item_id": film, "action": "rate", "value": 3.5},
    ).raise_for_status()
    page.get_by_role("link", name="History", exact=True).click()
    page.locator(f".st-key-unrate-{film} button").click()
    expect(page.locator(f".st-key-unrate-{film}")).to_have_count(0)
    assert said()["rating"] is None
    page.locator(".st-key-undo button").click()
    expect(page.locator(f".st-key-unrate-{film}")).to_be_visible()
    assert said()["rating"] == 3.5


def test_a_reload_and_another_page_keep_the_viewer(page: Page) -> None:
    page.goto("/")
    like(page, shown(page)[0])
    who = viewer(page)
    page.reload()
    expect(page.get_by_role("heading", name="Because of 1 like")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    expect(page).to_have_url(re.compile(rf"/history\?viewer={who}$"))
    assert viewer(page) == who


def test_search_and_the_film_page_work_from_their_addresses(page: Page, running_stack: RunningStack) -> None:
    film = httpx.get(f"{running_stack.inference_url}/v1/items/popular?k=1").json()["items"][0]
    page.goto(f"/film?item={film['id']}")
    expect(page.get_by_role("heading", name=film["title"])).to_be_visible()
    assert len(shown(page)) > 1
    page.goto("/search")
    page.get_by_role("textbox", name="Title").fill(film["title"])
    page.keyboard.press("Enter")
    expect(page.locator(f'.mr-poster[data-item="{film["id"]}"]')).to_be_visible()


def test_the_page_fetches_nothing_from_elsewhere_and_fits_a_telephone(
    browser: Browser, running_stack: RunningStack
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, base_url=running_stack.ui_url)
    page = context.new_page()
    addresses: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto("/", timeout=PATIENCE_MS)
    assert shown(page)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    context.close()
    assert {url for url in addresses if not url.startswith((running_stack.ui_url, "data:", "blob:"))} == set()
    assert errors == []
    assert width <= 390, "nothing sticks out sideways"

"""A replica and a browser: its own page works without the internet, a page of somebody else's gets nothing."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Route

from services.common.kafka import admin, describe_topic, end_offsets
from tests.support.browser import chromium
from tests.support.inference import Replica, one_replica
from tests.support.services import KafkaServer, PostgresServer

EVIL = """<!doctype html><title>Win a prize</title><body><script>
const api = "%s", seen = {};
const like = JSON.stringify({user_id: 7, item_id: 3, action: "like"});
async function attempt(name, options, path = "/v1/users/7/history") {
  try { const answer = await fetch(api + path, options); seen[name] = answer.status + " " + await answer.text(); }
  catch (error) { seen[name] = "blocked"; }
}
(async () => {
  await attempt("read");
  await attempt("read opaque", {mode: "no-cors"});
  await attempt("metrics", {}, "/metrics");
  await attempt("like as text", {method: "POST", mode: "no-cors", body: like}, "/v1/events");
  const json = {"Content-Type": "application/json"};
  await attempt("like as json", {method: "POST", body: like, headers: json}, "/v1/events");
  await attempt("beacon", {method: "POST", mode: "no-cors", keepalive: true, body: like}, "/v1/events");
  navigator.sendBeacon(api + "/v1/events", new Blob([like], {type: "text/plain"}));
  for (const kind of ["img", "script", "iframe"]) {
    const element = document.createElement(kind);
    element.src = api + "/v1/users/7/recommendations";
    seen[kind] = await new Promise((done) => {
      element.onload = () => done("loaded"); element.onerror = () => done("blocked"); document.body.append(element);
    });
  }
  const frame = document.createElement("iframe"); frame.name = "frame"; document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, {method: "POST", action: api + "/v1/events", enctype: "text/plain", target: "frame"});
  const input = document.createElement("input");
  input.name = like.slice(0, -1) + ', "source": "'; input.value = '"}';
  form.append(input); document.body.append(form);
  await new Promise((done) => { frame.onload = done; form.submit(); });
  window.result = seen;
})();
</script>"""


@pytest.fixture(scope="module")
def replica(
    kafka: KafkaServer, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replica]:
    with one_replica(kafka, postgres, tmp_path_factory.mktemp("models"), films=60) as replica:
        yield replica


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium("--host-resolver-rules=MAP evil.example 127.0.0.1") as started:
        yield started


def url(replica: Replica, path: str = "") -> str:
    return str(replica.client.base_url).rstrip("/") + path


def head(replica: Replica) -> dict[int, int]:
    client = admin(replica.kafka)
    return end_offsets(client, describe_topic(client, replica.events_topic))


def shown(replica: Replica) -> float:
    lines = replica.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("recommendations_served_total"))


@contextmanager
def page_of_somebody_else(content: str) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_page_of_somebody_else_reads_nothing_and_writes_nothing(
    replica: Replica, browser: Browser, host: str
) -> None:
    before, lists = head(replica), shown(replica)
    with page_of_somebody_else(EVIL % url(replica)) as port:
        page = browser.new_page()
        page.goto(f"http://{host}:{port}/")
        page.wait_for_function("window.result", timeout=20_000)
        seen = page.evaluate("window.result")
        page.close()
    assert {seen[name] for name in ("read", "metrics", "like as json", "img", "script")} == {"blocked"}
    assert "item" not in "".join(seen.values()), seen
    assert head(replica) == before, "an event was written"
    assert shown(replica) == lists, "a list was served"


def test_a_name_that_was_pointed_at_us_reads_nothing(replica: Replica, browser: Browser) -> None:
    page = browser.new_page()
    answer = page.goto(f"http://evil.example:{replica.client.base_url.port}/docs")
    assert answer is not None
    assert answer.status == 421
    page.evaluate("fetch('/v1/users/7/history').then(r => r.text()).then(t => window.result = t)")
    page.wait_for_function("window.result")
    assert "is not a name of this server" in page.evaluate("window.result")
    page.close()


@pytest.fixture
def page(replica: Replica, browser: Browser) -> Iterator[Page]:
    """A page without the internet, which must complain about nothing."""
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def only_ours(route: Route) -> None:
        if route.request.url.startswith((url(replica), "data:")):
            route.continue_()
        else:
            complaints.append(f"asks {route.request.url}")
            route.abort()

    page.route("**/*", only_ours)
    yield page
    context.close()
    assert complaints == []


def test_the_description_can_be_tried_without_the_internet(replica: Replica, page: Page) -> None:
    answer = page.goto(url(replica, "/docs"))
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page.get_by_text("/v1/items/popular", exact=True).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.get_by_text("model_version").first.wait_for()

    before = head(replica)
    page.get_by_text("/v1/items/popular", exact=True).click()
    page.get_by_text("/v1/events", exact=True).click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.get_by_text("event_id").first.wait_for()
    page.get_by_text("x-request-id").first.wait_for()
    assert head(replica) != before


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/docs", "text/html"),
        ("/docs/start.js", "text/javascript"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-ui.css", "text/css"),
    ],
)
def test_every_part_of_the_page_is_here(replica: Replica, path: str, kind: str) -> None:
    for answer in (replica.client.get(path), replica.client.head(path)):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind)
    assert replica.client.get("/redoc").status_code == 404

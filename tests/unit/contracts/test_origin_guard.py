"""The origin guard accepts requests for our own names, and refuses those that foreign pages caused."""

from http import HTTPStatus

import pytest

from services.contracts.origin_guard import OriginGuard, Refusal

GUARD = OriginGuard(["inference", "Api.Example.org"])
HERE = "10.1.2.3"


def ask(*headers: tuple[str, str], may_be_linked: bool = False) -> Refusal | None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    first = GUARD.refusal(encoded, HERE, may_be_linked=may_be_linked)
    assert GUARD.refusal(encoded, HERE, may_be_linked=may_be_linked) == first, "its cache changes no decision"
    return first


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:8000",
        "inference:8000",
        "api.example.ORG",
        HERE,
    ],
)
def test_a_request_to_one_of_our_names_is_accepted(host: str) -> None:
    assert ask(("host", host)) is None


def test_our_address_is_recognised_as_an_ipv4_mapped_one_too() -> None:
    request = [(b"host", HERE.encode())]
    assert OriginGuard([]).refusal(request, f"::ffff:{HERE}") is None
    assert OriginGuard([]).refusal(request, "::ffff:10.9.9.9") is not None


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", HTTPStatus.MISDIRECTED_REQUEST),
        ("localhost.evil.example", HTTPStatus.MISDIRECTED_REQUEST),
        ("evil.localhost", HTTPStatus.MISDIRECTED_REQUEST),
        ("localhost.", HTTPStatus.MISDIRECTED_REQUEST),
        ("0.0.0.0:8000", HTTPStatus.MISDIRECTED_REQUEST),
        ("10.1.2.4", HTTPStatus.MISDIRECTED_REQUEST),
        ("127.0.0.1.nip.io", HTTPStatus.MISDIRECTED_REQUEST),
        ("2130706433", HTTPStatus.MISDIRECTED_REQUEST),
        ("example.org", HTTPStatus.MISDIRECTED_REQUEST),
        ("", HTTPStatus.BAD_REQUEST),
        ("localhost:", HTTPStatus.BAD_REQUEST),
        ("localhost:80:80", HTTPStatus.BAD_REQUEST),
        ("user@localhost", HTTPStatus.BAD_REQUEST),
        ("localhost, evil.example", HTTPStatus.BAD_REQUEST),
        ("localhost/evil", HTTPStatus.BAD_REQUEST),
        ("lócalhost", HTTPStatus.BAD_REQUEST),
    ],
)
def test_a_request_to_any_other_name_is_refused(host: str, status: HTTPStatus) -> None:
    refusal = ask(("host", host))
    assert refusal is not None
    assert (refusal.status, refusal.header) == (status, "Host")


def test_a_host_must_be_given_once() -> None:
    for headers in ([], [("host", "localhost"), ("host", "localhost")], [("host", "localhost"), ("host", "evil")]):
        refusal = ask(*headers)
        assert refusal is not None
        assert refusal.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("origin", ["http://localhost:8000", "https://localhost:8000", "HTTP://LOCALHOST:8000"])
def test_our_own_page_may_send_requests(origin: str) -> None:
    assert ask(("host", "localhost:8000"), ("origin", origin), ("sec-fetch-site", "same-origin")) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "null", "", "http://localhost", "http://localhost:8501", "http://127.0.0.1:8000",
        "file://", "chrome-extension://abc", "http://localhost:8000.evil.example", "http://localhost:8000/",
        "http://inference:8000",
    ],
)  # fmt: skip
def test_other_pages_may_not_send_requests(origin: str) -> None:
    refusal = ask(("host", "localhost:8000"), ("origin", origin))
    assert refusal is not None
    assert (refusal.status, refusal.header) == (HTTPStatus.FORBIDDEN, "Origin")
    assert ask(("host", "localhost:8000"), ("origin", "http://localhost:8000"), ("origin", origin)) is not None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "unheard-of"])
def test_a_cross_site_request_is_refused_even_without_an_origin(site: str) -> None:
    refusal = ask(("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", "no-cors"))
    assert refusal is not None
    assert (refusal.status, refusal.header) == (HTTPStatus.FORBIDDEN, "Sec-Fetch-Site")
    assert ask(("host", "localhost"), ("sec-fetch-site", "none"), ("sec-fetch-site", site)) is not None


def test_only_links_may_come_from_other_sites_and_only_where_they_are_allowed() -> None:
    link = [("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    assert ask(*link, ("sec-fetch-dest", "document"), may_be_linked=True) is None
    assert ask(*link, ("sec-fetch-dest", "document")) is not None
    assert ask(*link, ("sec-fetch-dest", "iframe"), may_be_linked=True) is not None
    assert ask(*link, ("origin", "http://evil.example"), ("sec-fetch-dest", "document"), may_be_linked=True) is not None

"""Parameters have one form: plain digits, `true` or `false`; duplicate and unknown ones are refused."""

import asyncio
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Path, Query

from services.inference.http import problems
from services.inference.http.parameters import DIGITS, TRUE_OR_FALSE, StrictRoute


def application() -> FastAPI:
    app = FastAPI()
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

    @router.get("/films/{film}")
    def film(
        film: Annotated[int, Path(ge=1), DIGITS],
        k: Annotated[int, Query(ge=1, le=100), DIGITS] = 10,
        recent: Annotated[bool, Query(), TRUE_OR_FALSE] = False,
        genre: str | None = None,
    ) -> list[Any]:
        return [film, k, recent, genre]

    app.include_router(router)
    problems.install(app)
    return app


APP = application()


def ask(path: str) -> httpx.Response:
    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://api") as client:
            return await client.get(path)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("", [7, 10, False, None]),
        ("?", [7, 10, False, None]),
        ("?k=42&recent=true&genre=Drama", [7, 42, True, "Drama"]),
        ("?recent=false", [7, 10, False, None]),
        ("?%6b=%34%32", [7, 42, False, None]),
        ("?genre=a+b%26c%C3%A9", [7, 10, False, "a b&cé"]),
        ("?&k=42&", [7, 42, False, None]),
    ],
)
def test_plain_values_are_accepted(query: str, answer: list[Any]) -> None:
    assert ask(f"/v1/films/7{query}").json() == answer


NOT_INTEGERS = [
    "4_2", "1_0", "1.0", "1e1", "%2042", "42%20", "+42", "%2B42", "٤٢", "%D9%A4%D9%A2", "0042", "00", "0x2A", "0b1",
    "ten", "true", "-", "--1", "42%00", "42%0A", "４２", "1,0", "NaN", "Infinity", "1" * 5_000, "0" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize("text", [*NOT_INTEGERS, "", "0", "-1", "-0", "101"])
def test_a_number_has_one_form(text: str) -> None:
    assert_names(ask(f"/v1/films/7?k={text}"), "k")


@pytest.mark.parametrize("text", [*NOT_INTEGERS, "0", "-1"])
def test_a_number_in_the_path_has_one_form(text: str) -> None:
    assert_names(ask(f"/v1/films/{text}"), "film")


@pytest.mark.parametrize("text", ["True", "TRUE", "1", "0", "yes", "no", "on", "off", "t", "f", "", "true%20", "FALSE"])
def test_a_boolean_has_two_forms(text: str) -> None:
    assert_names(ask(f"/v1/films/7?recent={text}"), "recent")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("k=1&k=2", "k"), ("k=1&k=1", "k"), ("k=1&%6b=1", "k"), ("k=1&k", "k"), ("genre=&genre=", "genre"),
        ("K=1", "K"), ("limit=1", "limit"), ("x", "x"), ("k[]=1", "k[]"), ("=1", ""), ("film=8", "film"),
        ("user_id=1&k=1", "user_id"), ("genre=%FF", "genre"), ("genre=%C3", "genre"), ("genre=%ED%A0%80", "genre"),
        ("k=1;genre=a", "k"), ("%FF=1", "\ufffd"),
    ],
)  # fmt: skip
def test_duplicates_unknown_parameters_and_text_that_is_not_utf_8_are_refused(query: str, field: str) -> None:
    assert_names(ask(f"/v1/films/7?{query}"), field or "query string")


def test_with_very_many_unknown_parameters_the_first_are_named_and_the_others_counted() -> None:
    answer = ask("/v1/films/7?" + "&".join(f"x{n}=1" for n in range(1_000)))
    problem = answer.json()
    assert [error["field"] for error in problem["errors"]] == [f"x{n}" for n in range(20)]
    assert "999 more" in problem["detail"]


def test_a_long_name_is_not_repeated_in_full() -> None:
    assert len(ask("/v1/films/7?" + "x" * 10_000).text) < 1_000


def test_openapi_still_has_their_types_and_bounds() -> None:
    parameters = APP.openapi()["paths"]["/v1/films/{film}"]["get"]["parameters"]
    found = {parameter["name"]: parameter["schema"] for parameter in parameters}
    assert (found["k"]["type"], found["k"]["minimum"], found["k"]["maximum"]) == ("integer", 1, 100)
    assert (found["film"]["type"], found["film"]["minimum"]) == ("integer", 1)
    assert found["recent"]["type"] == "boolean"


def assert_names(answer: httpx.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]

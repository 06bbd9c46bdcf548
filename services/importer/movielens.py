"""Reads the published forms of MovieLens, detected by their files; other files are ignored.

=================  ============================================  =====================================
form               files                                         data sets
=================  ============================================  =====================================
``::`` separated   ratings.dat, movies.dat, users.dat (if any)   ml-1m, ml-10m
CSV                ratings.csv, movies.csv                       ml-20m, ml-25m, ml-32m, ml-latest-*
tabs and bars      u.data, u.item, u.user (if any)               ml-100k, as GroupLens has it
RecBole's atomic   *.inter, .item, .user (if any)                ml-100k, as the `recbole` wheel has it
=================  ============================================  =====================================

Where there is a header, columns are found by their names, in any order, and further ones are ignored.
"""

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from services.contracts.ids import MAX_ID
from services.importer.demographics import AGE_GROUPS, GENDERS, OCCUPATIONS, age_group
from services.importer.movielens_tables import DOUBLE_COLON, MovieLensError, TableLayout, read_table
from services.importer.ratings_file import Layout
from services.importer.titles import parse_title, plain_text

_NO_GENRES = {"(no genres listed)", "unknown", ""}
_ID = re.compile(r"0*[0-9]{1,16}")
_AGE = re.compile(r"[0-9]{1,3}")
_YEAR = re.compile(r"(?:18|19|20)[0-9]{2}")
_GENRES_OF_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
"""The order of the flags in u.item, from its README."""
_NO_TITLE = {"unkonwn", "unknown", ""}  # the spelling of item 267 in the wheel


@dataclass(frozen=True)
class Film:
    """A film of the catalogue; the title is readable, the genres are in the source's order."""

    item_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]

    @property
    def key(self) -> int:
        """The unique key of films."""
        return self.item_id


@dataclass(frozen=True)
class Person:
    """A user's demographics; what the source does not tell is None."""

    user_id: int
    age: int | None
    age_group: str | None
    gender: str | None
    occupation: str | None
    zip_code: str | None

    @property
    def key(self) -> int:
        """The unique key of users."""
        return self.user_id


@dataclass(frozen=True)
class MovieLens:
    """A data set on disk: films and users in memory, ratings still to be read."""

    form: str
    films: list[Film]
    users: list[Person]
    ratings: Path
    layout: Layout
    """Of the ratings."""
    latin1_lines: int
    """Lines of films and users that were not UTF-8."""
    merged_rows: int
    """Rows of films and users that repeated an earlier one."""


def open_movielens(directory: Path) -> MovieLens:
    """Detect the form of the data set in ``directory`` and read its films and users.

    Raises:
        MovieLensError: there is no form's data or more than one's, or a row of films or users is not valid; the
            message names the file and the line.
    """
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise MovieLensError(f"{directory} cannot be read: {error.strerror}") from error
    found = [name for name in names if name in _FORMS or name.endswith(_INTERACTIONS)]
    if not found:
        raise MovieLensError(
            f"{directory}: no MovieLens data here: expected ratings.dat (`::`), ratings.csv, or one *.inter file,"
            " or u.data"
        )
    if len(found) > 1:
        raise MovieLensError(f"{directory}: more than one data set here: {', '.join(found)}")
    ratings = directory / found[0]
    return _FORMS.get(found[0], _open_atomic)(ratings)


_ALIASES = {
    "userid": "user_id",
    "itemid": "item_id",
    "movieid": "item_id",
    "rating": "rating",
    "timestamp": "timestamp",
    "title": "title",
    "movietitle": "title",
    "genre": "genres",
    "genres": "genres",
    "class": "genres",
    "year": "year",
    "releaseyear": "year",
    "age": "age",
    "gender": "gender",
    "occupation": "occupation",
    "zipcode": "zip_code",
}
_FILM = ("item_id", "title", "genres")
_INTERACTIONS = ".inter"


def _open_double_colon(ratings: Path) -> MovieLens:
    people = TableLayout(DOUBLE_COLON, ("user_id", "gender", "age", "occupation", "zip_code"))
    return _read(
        DOUBLE_COLON,
        (ratings.with_name("movies.dat"), TableLayout(DOUBLE_COLON, _FILM), _film_of("|")),
        (ratings.with_name("users.dat"), people, _person_of_codes),
        ratings,
        Layout(DOUBLE_COLON, header=False, contradictions=False),
    )


def _open_csv(ratings: Path) -> MovieLens:
    films = TableLayout(",", _FILM, _ALIASES)
    return _read("csv", (ratings.with_name("movies.csv"), films, _film_of("|")), None, ratings, _with_header(","))


def _open_tabs(ratings: Path) -> MovieLens:
    flags = [f"genre {number}" for number in range(len(_GENRES_OF_100K))]
    films = TableLayout("|", ("item_id", "title", "released", "on video", "url", *flags))
    people = TableLayout("|", ("user_id", "age", "gender", "occupation", "zip_code"))
    return _read(
        "tabs",
        (ratings.with_name("u.item"), films, _film_of_flags),
        (ratings.with_name("u.user"), people, _person_of_words),
        ratings,
        Layout("\t", header=False, contradictions=False),
    )


def _open_atomic(ratings: Path) -> MovieLens:
    films = TableLayout("\t", _FILM, _ALIASES, optional=("year",))
    people = TableLayout("\t", ("user_id", "age", "gender", "occupation", "zip_code"), _ALIASES)
    return _read(
        "atomic",
        (ratings.with_suffix(".item"), films, _film_of(" ")),
        (ratings.with_suffix(".user"), people, _person_of_words),
        ratings,
        _with_header("\t"),
    )


_FORMS = {"ratings.dat": _open_double_colon, "ratings.csv": _open_csv, "u.data": _open_tabs}


def _with_header(separator: str) -> Layout:
    return Layout(separator, aliases=_ALIASES, others=True, contradictions=False)


_Row = dict[str, str]


class _HasId(Protocol):
    @property
    def key(self) -> int: ...


T = TypeVar("T", bound=_HasId)
_Source = tuple[Path, TableLayout, Callable[[_Row], T]]


def _read(form: str, films: _Source[Film], people: _Source[Person] | None, ratings: Path, layout: Layout) -> MovieLens:
    known, latin1, merged = _parsed(*films)
    persons: list[Person] = []
    if people is not None and people[0].exists():
        persons, more_latin1, more_merged = _parsed(*people)
        latin1, merged = latin1 + more_latin1, merged + more_merged
    return MovieLens(form, known, persons, ratings, layout, latin1, merged)


def _parsed(path: Path, layout: TableLayout, parse: Callable[[_Row], T]) -> tuple[list[T], int, int]:
    """Return what the rows mean, how many lines were not UTF-8, and how many rows repeat an earlier one."""
    table = read_table(path, layout)
    found: dict[int, tuple[int, T]] = {}
    for line, row in table.rows:
        try:
            value = parse(row)
        except ValueError as error:
            raise MovieLensError(f"{path}, line {line}: {error}") from error
        earlier, same = found.setdefault(value.key, (line, value))
        if same != value:
            raise MovieLensError(f"{path}, line {line}: {value.key} is another one than on line {earlier}")
    return [value for _, value in found.values()], table.latin1_lines, len(table.rows) - len(found)


def _film_of(separator: str) -> Callable[[_Row], Film]:
    return lambda row: _film(row["item_id"], row["title"], row.get("year", ""), row["genres"].split(separator))


def _film_of_flags(row: _Row) -> Film:
    flags = [row[f"genre {number}"] for number in range(len(_GENRES_OF_100K))]
    if not {"0", "1"}.issuperset(flags):
        raise ValueError("a genre is neither 0 nor 1")
    genres = [name for name, flag in zip(_GENRES_OF_100K, flags, strict=True) if flag == "1"]
    return _film(row["item_id"], row["title"], row["released"][-4:], genres)


def _film(item_id: str, raw_title: str, year: str, genres: Sequence[str]) -> Film:
    title, year_of_title = parse_title(raw_title)
    if title in _NO_TITLE:
        title = "Unknown"
    names = [plain_text(genre) for genre in genres]
    return Film(
        _id(item_id),
        title,
        int(year) if _YEAR.fullmatch(year) else year_of_title,
        tuple(dict.fromkeys(name for name in names if name.lower() not in _NO_GENRES)),
    )


def _person_of_codes(row: _Row) -> Person:
    age = AGE_GROUPS[_code("age", row["age"], AGE_GROUPS)]
    occupation = OCCUPATIONS[_code("occupation", row["occupation"], range(len(OCCUPATIONS)))]
    return Person(_id(row["user_id"]), None, age, _gender(row["gender"]), occupation, row["zip_code"])


def _person_of_words(row: _Row) -> Person:
    if not _AGE.fullmatch(row["age"]):
        raise ValueError(f"{row['age']!r} is not an age")
    age = int(row["age"])
    return Person(
        _id(row["user_id"]), age, age_group(age), _gender(row["gender"]), plain_text(row["occupation"]), row["zip_code"]
    )


def _gender(text: str) -> str:
    if text not in GENDERS:
        raise ValueError(f"unknown code {text!r} of gender")
    return GENDERS[text]


def _code(name: str, text: str, known: Container[int]) -> int:
    if not _AGE.fullmatch(text) or int(text) not in known:
        raise ValueError(f"unknown code {text!r} of {name}")
    return int(text)


def _id(text: str) -> int:
    if not _ID.fullmatch(text) or not 1 <= int(text) <= MAX_ID:
        raise ValueError(f"{text[:100]!r} is not an id (a whole number from 1 to {MAX_ID})")
    return int(text)

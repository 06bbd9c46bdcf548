"""Reads MovieLens in the three forms it is published in, told apart by the files that are there.

=================  ============================================  =====================================
form               files                                         data sets
=================  ============================================  =====================================
``::`` separated   ratings.dat, movies.dat, users.dat (if any)   ml-1m, ml-10m
CSV                ratings.csv, movies.csv                       ml-20m, ml-25m, ml-32m, ml-latest-*
RecBole's atomic   ml-*.inter, .item, .user                      ml-100k, as the `recbole` wheel has it
=================  ============================================  =====================================
"""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.trainer.demographics import AGE_GROUPS, GENDERS, OCCUPATIONS, age_group
from services.trainer.ratings_file import MovieLensError, RatingsFile
from services.trainer.titles import parse_title

T = TypeVar("T")

_NO_GENRES = {"(no genres listed)", "unknown", ""}
_NO_TITLE = {"unkonwn", "unknown", ""}  # the wheel's spelling of item 267


@dataclass(frozen=True)
class Film:
    """A film of the catalogue, its title readable and its genres in the source's order."""

    item_id: int
    title: str
    year: int | None
    genres: tuple[str, ...]


@dataclass(frozen=True)
class Person:
    """A user's demographics; what the source does not tell is None."""

    user_id: int
    age: int | None
    age_group: str | None
    gender: str | None
    occupation: str | None
    zip_code: str | None


@dataclass(frozen=True)
class MovieLens:
    """A data set on disk: films and users in memory, ratings still to be streamed."""

    form: str
    films: list[Film]
    users: list[Person]
    ratings: RatingsFile


def open_movielens(directory: Path) -> MovieLens:
    """Detect the form of the data set in ``directory`` and read its films and users.

    Raises:
        MovieLensError: no form's files are all there, or a row of films or users is not valid; the
            message names the file and the line.
    """
    if (directory / "ratings.dat").is_file():
        return _open_double_colon(directory)
    if (directory / "ratings.csv").is_file():
        return _open_csv(directory)
    interactions = sorted(directory.glob("*.inter"))
    if len(interactions) == 1:
        return _open_atomic(interactions[0])
    raise MovieLensError(
        f"{directory}: no MovieLens data here: expected ratings.dat (`::`), ratings.csv, or one *.inter file"
    )


def _open_double_colon(directory: Path) -> MovieLens:
    films = _parsed(directory / "movies.dat", "::", 3, lambda row: _film(row[0], row[1], None, row[2].split("|")))
    users = directory / "users.dat"
    people = _parsed(users, "::", 5, _person_of_codes) if users.is_file() else []
    return MovieLens("::", films, people, RatingsFile(directory / "ratings.dat", "::", header=False))


def _open_csv(directory: Path) -> MovieLens:
    path = directory / "movies.csv"
    films = _parsed(path, ",", 3, lambda row: _film(row[0], row[1], None, row[2].split("|")), header=True)
    return MovieLens("csv", films, [], RatingsFile(directory / "ratings.csv", ",", header=True))


def _open_atomic(interactions: Path) -> MovieLens:
    films = _parsed(
        interactions.with_suffix(".item"),
        "\t",
        4,
        lambda row: _film(row[0], row[1], row[2], row[3].split(" ")),
        header=True,
    )
    users = interactions.with_suffix(".user")
    people = _parsed(users, "\t", 5, _person_of_words, header=True) if users.is_file() else []
    return MovieLens("atomic", films, people, RatingsFile(interactions, "\t", header=True))


def _film(item_id: str, raw_title: str, year: str | None, genres: list[str]) -> Film:
    title, year_of_title = parse_title(raw_title)
    if title in _NO_TITLE:
        title = "Unknown"
    known_year = int(year) if year is not None and year.isdigit() else year_of_title
    names = tuple(dict.fromkeys(g.strip() for g in genres if g.strip().lower() not in _NO_GENRES))
    return Film(_id(item_id), title, known_year, names)


def _person_of_codes(row: list[str]) -> Person:
    user_id, gender, age, occupation, zip_code = row
    return Person(_id(user_id), None, AGE_GROUPS[int(age)], GENDERS[gender], OCCUPATIONS[int(occupation)], zip_code)


def _person_of_words(row: list[str]) -> Person:
    user_id, age, gender, occupation, zip_code = row
    return Person(_id(user_id), int(age), age_group(int(age)), GENDERS[gender], occupation, zip_code)


def _id(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"{text!r} is not an id (a whole number from 1)")
    return int(text)


def _parsed(
    path: Path, separator: str, fields: int, parse: Callable[[list[str]], T], *, header: bool = False
) -> list[T]:
    parsed = []
    for line, row in _rows(path, separator, header=header):
        try:
            parsed.append(parse(_exactly(fields, row)))
        except (ValueError, KeyError, IndexError) as error:
            reason = f"unknown code {error}" if isinstance(error, KeyError | IndexError) else error
            raise MovieLensError(f"{path}, line {line}: {reason}") from error
    return parsed


def _exactly(fields: int, row: list[str]) -> list[str]:
    if len(row) != fields:
        raise ValueError(f"{len(row)} fields instead of {fields}")
    return row


def _rows(path: Path, separator: str, *, header: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each line that is not empty; UTF-8 or else latin-1."""
    text = _decode(path)
    if separator == ",":
        reader = csv.reader(text.splitlines())
        rows = ((reader.line_num, row) for row in reader)
    else:
        rows = ((number, line.split(separator)) for number, line in enumerate(text.split("\n"), start=1))
    for number, row in rows:
        if any(row) and not (header and number == 1):
            yield number, row


def _decode(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise MovieLensError(f"{path} is missing") from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return content.decode("latin-1").replace("\r\n", "\n")

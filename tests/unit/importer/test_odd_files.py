"""MovieLens' files as they should not be: read if what they mean is clear, and refused by file and line if not."""

import os
from pathlib import Path

import pytest

from services.importer.movielens import MovieLens, open_movielens
from services.importer.movielens_tables import MovieLensError, open_regular
from tests.unit.importer.test_movielens import atomic, blocks_of, csv, double_colon, ratings_of

FILMS = "movieId,title,genres\n"
RATINGS = "userId,movieId,rating,timestamp\n"


def written(folder: Path, films: str | bytes = FILMS, ratings: str | bytes = RATINGS) -> MovieLens:
    for name, content in (("movies.csv", films), ("ratings.csv", ratings)):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_movielens(folder)


def refused(folder: Path, films: str | bytes) -> str:
    with pytest.raises(MovieLensError) as caught:
        written(folder, films)
    return str(caught.value).removeprefix(f"{folder / 'movies.csv'}, ")


def titles(data: MovieLens) -> list[str]:
    return [film.title for film in data.films]


@pytest.mark.parametrize(
    "content",
    [
        "movieId,userId,rating,timestamp\n10,1,4.5,978300760\n",
        '"timestamp","rating","movieId","userId"\n978300760,4.5,10,1\n',
        "userId,movieId,note,rating,timestamp\n1,10,x,4.5,978300760\n",
        "user_id:token,item_id:token,rating:float,timestamp:float\n1,10,4.5,978300760\n",
        '\ufeffuserId,movieId,rating,timestamp\r\n"1","10","4.5","978300760"\r\n\r\n',
        " UserID , MovieID , Rating , Timestamp \n1,10,4.5,978300760",
    ],
)
def test_ratings_are_read_by_the_names_of_their_columns(tmp_path: Path, content: str) -> None:
    assert ratings_of(written(tmp_path, FILMS + "10,A,Drama\n", content)) == [(1, 10, 4.5, 978300760)]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("1,10,4.5,978300760\n1,10,4,978300761\n", 1, "the columns must be user_id, item_id, rating, timestamp"),
        ("userId,movieId,rating\n1,10,4.5\n", 1, "the columns must be"),
        ("userId,userId,movieId,rating,timestamp\n1,1,10,4.5,978300760\n", 1, "the columns must be"),
        ("userId;movieId;rating;timestamp\n1;10;4.5;978300760\n", 1, "the columns must be"),
        ("", 1, "the file is empty"),
        (RATINGS + "1,10,4.5,978300760,5\n", 2, "5 fields instead of 4"),
        (RATINGS + "1,10,4.5\n", 2, "3 fields instead of 4"),
        (RATINGS + "1,10,4.5,978300760\n \n", 3, "1 fields instead of 4"),
        (RATINGS + "9223372036854775808,10,4.5,978300760\n", 2, "user_id '9223372036854775808'"),
        (RATINGS + "1,10,4.5,1700000000000\n", 2, "timestamp '1700000000000': in the future"),
    ],
)
def test_ratings_that_are_unclear_are_refused(tmp_path: Path, content: str, line: int, reason: str) -> None:
    checked, _ = blocks_of(written(tmp_path, FILMS + "10,A,Drama\n", content))
    assert (checked.problems[0].line, checked.problems[0].reason[: len(reason)]) == (line, reason)


def test_a_header_alone_is_a_data_set_of_nothing(tmp_path: Path) -> None:
    data = written(tmp_path)
    assert (data.films, ratings_of(data)) == ([], [])


def test_what_stands_between_double_colons_is_refused_rather_than_dropped(tmp_path: Path) -> None:
    checked, _ = blocks_of(open_movielens(double_colon(tmp_path, "1:7:10:8:5::978300760\n")))
    assert checked.problems[0].line == 1


def test_films_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    data = written(tmp_path, "genres,imdb,title,movieId\nDrama|War,tt1,A (1990),10\n")
    assert [(f.item_id, f.title, f.year, f.genres) for f in data.films] == [(10, "A", 1990, ("Drama", "War"))]


def test_films_of_the_wheels_form_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    films = "class:token_seq\tmovie_title:token_seq\titem_id:token\nWar\tB\t1\n"
    (atomic(tmp_path) / "ml-100k.item").write_text(films)
    assert [(f.item_id, f.title, f.genres) for f in open_movielens(tmp_path).films] == [(1, "B", ("War",))]


@pytest.mark.parametrize(
    ("films", "reason"),
    [
        ("10,A,Drama\n", "line 1: the columns must include item_id, title, genres"),
        ("movieId,title\n10,A\n", "line 1: the columns must include genres"),
        ("", "line 1: the columns must include"),
        (FILMS + "10,A,Drama\n10,B,Drama\n", "line 3: 10 is another one than on line 2"),
        (FILMS + '11,"A\nB",Drama\n10,A,Drama\n10,B,Drama\n', "line 5: 10 is another one than on line 4"),
        (FILMS + "10,A\0B,Drama\n", "line 2: a NUL character"),
        (FILMS + "9223372036854775808,A,Drama\n", "line 2: '9223372036854775808' is not an id"),
        (FILMS + "1_0,A,Drama\n", "line 2: '1_0' is not an id"),
        (FILMS + "٤,A,Drama\n", "line 2: '٤' is not an id"),
        (FILMS + "10,Bar, The,Drama\n", "line 2: 4 fields instead of 3"),
        (FILMS + '10,"A,Drama\n11,"B, The",Drama\n', "line 2: stray quotation mark"),
        (FILMS + '10,A 2" B,Drama\n', "line 2: stray quotation mark"),
        (FILMS + f"10,{'A' * 20_000},Drama\n", "line 2: a value is longer than"),
        (FILMS.encode("utf-16"), "line 1: the file is UTF-16"),
        ((FILMS + "10,A,Drama\n").encode("utf-16-le"), "line 1: a NUL character"),
    ],
)
def test_films_that_are_unclear_are_refused(tmp_path: Path, films: str | bytes, reason: str) -> None:
    assert refused(tmp_path, films).startswith(reason)


def test_identical_films_are_merged_and_counted(tmp_path: Path) -> None:
    data = written(tmp_path, FILMS + '10,A (1990),Drama\n"10","A (1990)",Drama\n11,B,War\n')
    assert (titles(data), data.merged_rows) == (["A", "B"], 1)


def test_each_line_has_its_own_encoding(tmp_path: Path) -> None:
    films = FILMS.encode() + "10,Amélie,War\n11,Zażółć,War\n".encode() + b"12,Am\xe9lie \x96 1,War\r\n13,\x81\xe9,War\n"
    data = written(tmp_path, films)
    assert titles(data) == ["Amélie", "Zażółć", "Amélie – 1", "é"]
    assert data.latin1_lines == 2


def test_quoted_titles_are_read_as_csv_has_them(tmp_path: Path) -> None:
    films = FILMS + '10,"Dr. ""X"", The\n second (1990)",Drama\n\n11,"""Eleven""",War\n'
    assert titles(written(tmp_path, films)) == ['Dr. "X", The second', '"Eleven"']


def test_a_title_may_hold_the_separator_of_the_double_colon_form(tmp_path: Path) -> None:
    (double_colon(tmp_path) / "movies.dat").write_text("10::A :: B::C::War\n20::Alien:::Drama\n")
    films = open_movielens(tmp_path).films
    assert [(film.title, film.genres) for film in films] == [("A :: B::C", ("War",)), ("Alien:", ("Drama",))]


def test_contradicting_ratings_are_refused_with_both_lines_and_identical_ones_merged(tmp_path: Path) -> None:
    films = FILMS + "10,A,War\n"
    same = RATINGS + "1,10,4,978300760\n2,10,3,978300760\n1,10,4.0,978300760\n"
    checked, blocks = blocks_of(written(tmp_path, films, same))
    assert (checked.rows, checked.duplicates.tolist(), sum(map(len, blocks))) == (3, [0], 2)
    checked, _ = blocks_of(written(tmp_path, films, same + "\n2,10,5,978300760\n2,10,5,978300761\n"))
    assert [(p.line, p.reason) for p in checked.problems] == [
        (6, "user 2, item 10: 5 stars, but otherwise on line 3, at the same time")
    ]


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "link to nothing"])
@pytest.mark.parametrize("name", ["ratings.csv", "movies.csv"])
def test_what_is_no_file_is_refused_and_waited_for_by_nobody(tmp_path: Path, kind: str, name: str) -> None:
    odd = csv(tmp_path) / name
    odd.unlink()
    match kind:
        case "folder":
            odd.mkdir()
        case "pipe":
            os.mkfifo(odd)
        case "loop":
            odd.symlink_to(odd)
        case _:
            odd.symlink_to(tmp_path / "nothing")
    with pytest.raises(MovieLensError, match=name):
        open_regular(open_movielens(tmp_path).ratings)

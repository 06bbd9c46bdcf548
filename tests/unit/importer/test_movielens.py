"""MovieLens' files in their published forms, as they should be; `test_odd_files` has the others."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from services.importer import ratings_file
from services.importer.file_events import event_ids, to_arrow
from services.importer.movielens import MovieLens, open_movielens
from services.importer.movielens_tables import MovieLensError
from services.importer.rating_rules import Rules
from services.importer.ratings_file import Checked, RatingsBlock
from services.importer.titles import parse_title

NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)


def double_colon(folder: Path, ratings: str = "1::10::5::978300760\n2::20::1::978300761\n") -> Path:
    (folder / "ratings.dat").write_text(ratings)
    movies = "10::Matrix, The (1999)::Action|Sci-Fi\n20::Misérables, Les (1995)::Drama\n"
    (folder / "movies.dat").write_bytes(movies.encode("latin-1"))
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    return folder


def csv(folder: Path) -> Path:
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\r\n1,10,4.5,978300760\r\n")
    films = '10,"Postman, The (Postino, Il) (1994)",Comedy|Drama\r\n11,Babylon 5,(no genres listed)\r\n'
    (folder / "movies.csv").write_bytes(b"movieId,title,genres\r\n" + films.encode())
    return folder


def atomic(folder: Path) -> Path:
    (folder / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t1\t3\t881250949\n"
    )
    (folder / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tUsual Suspects, The\t1995\tCrime Thriller\n"
        "267\tunkonwn\tunkonwn\tunknown\n"
        "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's\n"
    )
    (folder / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n7\t24\tM\ttechnician\t85711\n"
    )
    return folder


def tabs(folder: Path) -> Path:
    (folder / "u.data").write_text("7\t1\t3\t881250949\n")
    flags = ["0"] * 19
    flags[1] = flags[16] = "1"
    film = "1|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Les%20Mis%E9rables|"
    (folder / "u.item").write_bytes((film + "|".join(flags) + "\n").encode("latin-1"))
    (folder / "u.user").write_text("7|24|M|technician|85711\n")
    return folder


def blocks_of(data: MovieLens) -> tuple[Checked, list[RatingsBlock]]:
    """Read the ratings as the loader does."""
    with data.ratings.open("rb") as file:
        rules = Rules({film.item_id for film in data.films}, NOW)
        checked = ratings_file.check(file, data.layout, rules)
        return checked, [] if checked.bad_lines else list(ratings_file.blocks(file, checked, data.layout))


def ratings_of(data: MovieLens) -> list[tuple[int, int, float, int]]:
    checked, blocks = blocks_of(data)
    assert checked.problems == []
    return [
        (int(u), int(i), float(r), int(t) // 1_000_000)
        for block in blocks
        for u, i, r, t in zip(block.user_id, block.item_id, block.rating, block.time_us, strict=True)
    ]


def test_the_double_colon_form_is_read_with_latin_1_titles_and_decoded_codes(tmp_path: Path) -> None:
    data = open_movielens(double_colon(tmp_path))
    assert [(f.item_id, f.title, f.year, f.genres) for f in data.films] == [
        (10, "The Matrix", 1999, ("Action", "Sci-Fi")),
        (20, "Les Misérables", 1995, ("Drama",)),
    ]
    assert [(u.age, u.age_group, u.gender, u.occupation) for u in data.users] == [
        (None, "Under 18", "female", "K-12 student"),
        (None, "56+", "male", "self-employed"),
    ]
    assert ratings_of(data) == [(1, 10, 5.0, 978300760), (2, 20, 1.0, 978300761)]


def test_the_csv_form_is_read_with_quoted_titles_and_crlf(tmp_path: Path) -> None:
    data = open_movielens(csv(tmp_path))
    assert [(f.title, f.year, f.genres) for f in data.films] == [
        ("The Postman (Il Postino)", 1994, ("Comedy", "Drama")),
        ("Babylon 5", None, ()),
    ]
    assert data.users == []
    assert ratings_of(data) == [(1, 10, 4.5, 978300760)]


def test_the_wheels_form_is_read_and_its_quirks_are_mended(tmp_path: Path) -> None:
    data = open_movielens(atomic(tmp_path))
    assert [(f.title, f.year, f.genres) for f in data.films] == [
        ("The Usual Suspects", 1995, ("Crime", "Thriller")),
        ("Unknown", None, ()),
        ("Land Before Time III: The Time of the Great Giving", 1995, ("Animation", "Children's")),
    ]
    assert [(u.age, u.age_group, u.occupation, u.zip_code) for u in data.users] == [
        (24, "18-24", "technician", "85711")
    ]
    assert ratings_of(data) == [(7, 1, 3.0, 881250949)]


def test_grouplens_own_100k_is_read_with_its_genre_flags(tmp_path: Path) -> None:
    data = open_movielens(tabs(tmp_path))
    assert [(f.title, f.year, f.genres) for f in data.films] == [("Les Misérables", 1995, ("Action", "Thriller"))]
    assert [(u.age, u.occupation) for u in data.users] == [(24, "technician")]
    assert data.latin1_lines == 1
    assert ratings_of(data) == [(7, 1, 3.0, 881250949)]


def test_other_files_in_the_folder_are_ignored(tmp_path: Path) -> None:
    (csv(tmp_path) / "tags.csv").write_text("userId,movieId,tag,timestamp\n1,99,x,1\n")
    (tmp_path / "links.csv").write_bytes(b"\xff\xfe\0")
    assert len(ratings_of(open_movielens(tmp_path))) == 1


def test_a_folder_with_two_data_sets_is_refused_naming_both(tmp_path: Path) -> None:
    double_colon(csv(tmp_path))
    with pytest.raises(MovieLensError, match=r"more than one data set here: ratings\.csv, ratings\.dat"):
        open_movielens(tmp_path)


def test_a_folder_without_movielens_data_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(MovieLensError, match=r"expected ratings\.dat .*, ratings\.csv, or one \*\.inter"):
        open_movielens(tmp_path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("3::30::4", "3 fields instead of 4"),
        ("3::30::4::978300760::9", "5 fields instead of 4"),
        ("3::x::4::978300760", "item_id 'x': not a whole number"),
        ("3::10::::978300760", "rating '': not a number"),
        ("3::10::6::978300760", "rating '6': not a number from 0.5 to 5"),
        ("3::10::nan::978300760", "rating 'nan'"),
        ("0::10::4::978300760", "user_id '0'"),
        ("3::10::4::0", "timestamp '0': before 1970-01-02"),
        ("3::10::4::978300760000", "timestamp '978300760000': in the future"),
        ("3::10::4::4102444800", "timestamp '4102444800': in the future"),
        ("3::30::4::978300760", "item_id '30': not in the catalogue"),
    ],
)
def test_a_bad_rating_is_named_by_its_line(tmp_path: Path, row: str, reason: str) -> None:
    data = open_movielens(double_colon(tmp_path, f"1::10::5::978300760\n{row}\n2::20::1::978300761\n"))
    checked, _ = blocks_of(data)
    assert [problem.line for problem in checked.problems] == [2]
    assert checked.problems[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("file", "line", "content", "reason"),
    [
        ("movies.dat", 1, "x::Film::Drama\n", "'x' is not an id"),
        ("movies.dat", 2, "1::Film::Drama\n2::Film\n", "2 fields instead of 3"),
        ("movies.dat", 1, "9007199254740991::Film::Drama\n", "'9007199254740991' is not an id"),
        ("users.dat", 1, "1::F::2::10::48067\n", "unknown code '2' of age"),
        ("users.dat", 1, "1::F::1::99::48067\n", "unknown code '99' of occupation"),
        ("users.dat", 1, "1::F::1::-1::48067\n", "unknown code '-1' of occupation"),
        ("users.dat", 1, "1::X::1::1::48067\n", "unknown code 'X' of gender"),
    ],
)
def test_a_bad_film_or_user_is_named_by_file_and_line(
    tmp_path: Path, file: str, line: int, content: str, reason: str
) -> None:
    (double_colon(tmp_path) / file).write_text(content)
    with pytest.raises(MovieLensError) as caught:
        open_movielens(tmp_path)
    assert f"{tmp_path / file}, line {line}: {reason}" in str(caught.value)


def test_blocks_number_their_rows_through_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.importer.text_file.BLOCK_BYTES", 64)
    lines = [f"{n}::{10 + n % 2 * 10}::3::978300760" for n in range(1, 21)]
    blocks = blocks_of(open_movielens(double_colon(tmp_path, "\n".join(lines) + "\n")))[1]
    assert len(blocks) > 1
    assert np.concatenate([block.row for block in blocks]).tolist() == list(range(20))
    assert np.concatenate([b.user_id for b in blocks]).tolist() == list(range(1, 21))


def test_the_same_content_gives_the_same_event_ids_and_other_content_others() -> None:
    rows = np.arange(1000)
    ids = {tuple(pair) for pair in event_ids(b"a" * 32, rows).tolist()}
    assert len(ids) == 1000
    assert ids == {tuple(pair) for pair in event_ids(b"a" * 32, rows).tolist()}
    assert not ids & {tuple(pair) for pair in event_ids(b"b" * 32, rows).tolist()}


def test_a_rating_becomes_a_rate_event_of_the_files_epoch(tmp_path: Path) -> None:
    checked, blocks = blocks_of(open_movielens(double_colon(tmp_path)))
    row = to_arrow(blocks[0], checked.sha256, "movielens").to_pylist()[1]
    assert (row["epoch"], row["offset"], row["user_id"], row["item_id"]) == (0, 1, 2, 20)
    assert (row["action"], row["value"], row["source"]) == ("rate", 1.0, "movielens")
    assert row["partition"] == int.from_bytes(checked.sha256[:8], "big")
    assert row["event_time"].timestamp() == 978300761
    assert row["record_time"].timestamp() == 0


@pytest.mark.parametrize(
    ("raw", "title", "year"),
    [
        ("Toy Story (1995)", "Toy Story", 1995),
        ("Fish Called Wanda, A (1988)", "A Fish Called Wanda", 1988),
        ("Umbrellas, The (Parapluies, Les) (1964)", "The Umbrellas (Les Parapluies)", 1964),
        ("Avventura, L' (1960)", "L'Avventura", 1960),
        ("To Wong Foo, Thanks for Everything! (1995)", "To Wong Foo, Thanks for Everything!", 1995),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey", 1968),
        ("1984 (1984) ", "1984", 1984),
        ("Fawlty Towers (1975-1979)", "Fawlty Towers", 1975),
        ("Unbelievable (12)", "Unbelievable (12)", None),
        ("Tom &amp; Jerry: The Movie (1992)", "Tom & Jerry: The Movie", 1992),
        ("Am&eacute;lie&#39;s (2001)", "Amélie's", 2001),
        ("A &amp;amp; B &copy AT&T", "A &amp; B &copy AT&T", None),
        ("Two\nlines\tand&nbsp;a  tab (1999)", "Two lines and a tab", 1999),
    ],
)  # fmt: skip
def test_titles_read_as_people_write_them(raw: str, title: str, year: int | None) -> None:
    assert parse_title(raw) == (title, year)

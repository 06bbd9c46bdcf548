"""One landed file: what is valid, and that each bad line is named."""

import hashlib
import io
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.events import MAX_CLOCK_AHEAD_SECONDS
from services.contracts.ids import MAX_ID
from services.contracts.signals import to_microseconds
from services.importer import ratings_file, text_file
from services.importer.landing import LAYOUT
from services.importer.rating_rules import Rules
from services.importer.ratings_file import MAX_PROBLEMS, Checked

NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)
HEADER = "user_id,item_id,rating,timestamp\n"
ITEMS = frozenset(range(1, 51))
Row = tuple[int, int, float, int]


def taken(content: str | bytes) -> tuple[Checked, list[Row]]:
    """Read the content; return what was found and, if all of it is valid, the rows, time in microseconds."""
    data = content.encode() if isinstance(content, str) else content
    checked = ratings_file.check(io.BytesIO(data), LAYOUT, Rules(ITEMS, NOW))
    assert checked.sha256 == hashlib.sha256(data).digest()
    rows: list[Row] = []
    for block in () if checked.bad_lines else ratings_file.blocks(io.BytesIO(data), checked, LAYOUT):
        columns = (block.user_id, block.item_id, block.rating, block.time_us)
        rows += zip(*(column.tolist() for column in columns), strict=True)
    return checked, rows


def test_every_form_of_a_valid_line_is_taken() -> None:
    reading, rows = taken(
        HEADER
        + "1,10,4.5,978300760\n"
        + "2,20,0.5,978300760.25\n"
        + "\n"
        + "3,30,5,2001-01-01T00:12:40+02:00\r\n"
        + '"4",40,"3",2000-12-31T22:12:40.000001Z'
    )
    assert reading.problems == []
    second = 1_000_000
    assert rows == [
        (1, 10, 4.5, 978300760 * second),
        (2, 20, 0.5, 978300760 * second + 250_000),
        (3, 30, 5.0, 978300760 * second),
        (4, 40, 3.0, 978300760 * second + 1),
    ]
    assert reading.rows == 4


def test_columns_may_stand_in_any_order_and_behind_a_byte_order_mark() -> None:
    assert taken("\ufefftimestamp,rating,item_id,user_id\n978300760,4,10,1\n")[1] == [(1, 10, 4.0, 978300760_000_000)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,10,4", "3 fields instead of 4"),
        ("1,10,4,978300760,x", "5 fields instead of 4"),
        ("x,10,4,978300760", "user_id 'x': not a whole number from 1 to"),
        ("0,10,4,978300760", "user_id '0': not a whole number"),
        ("9007199254740991,10,4,978300760", "user_id '9007199254740991': reserved for the probe"),
        ("9223372036854775808,10,4,978300760", "user_id '9223372036854775808': not a whole number"),
        ("1,,4,978300760", "item_id ''"),
        ("1,51,4,978300760", "item_id '51': not in the catalogue"),
        ("1,10,5.5,978300760", "rating '5.5': not a number from 0.5 to 5"),
        ("1,10,0,978300760", "rating '0': not a number from 0.5 to 5"),
        ("1,10,nan,978300760", "rating 'nan'"),
        ("x,10,inf,978300760", "user_id 'x'"),
        ("1,10,4,", "timestamp '': neither seconds since 1970 nor ISO 8601 with a zone"),
        ("1,10,4,2001-01-01T00:00:00", "timestamp '2001-01-01T00:00:00': neither"),
        ("1,10,4,2001-13-01T00:00:00Z", "timestamp '2001-13-01T00:00:00Z': neither"),
        ("1,10,4,1700000000000", "timestamp '1700000000000': in the future"),
        ("1,10,4,-1", "timestamp '-1': neither"),
        ("1,10,4,0", "timestamp '0': before 1970-01-02"),
        ("1,10,4,0001-01-01T00:00:00+14:00", "timestamp '0001-01-01T00:00:00+14:00': before"),
        ("1,10,4,99999999999", "timestamp '99999999999': in the future"),
        ("1,10,4,9999-12-31T23:59:59-14:00", "in the future"),
        ('"1,10,4,978300760', "stray quotation mark"),
        ('"1"2,10,4,978300760', "stray quotation mark"),
        ('1,1"0",4,978300760', "stray quotation mark"),
        ("true,10,4,978300760", "user_id 'true'"),
        ("1.0,10,4,978300760", "user_id '1.0'"),
        ("1e0,10,4,978300760", "user_id '1e0'"),
        ("1_0,10,4,978300760", "user_id '1_0'"),
        ("0x1,10,4,978300760", "user_id '0x1'"),
        ("+1,10,4,978300760", "user_id '+1'"),
        (" 1,10,4,978300760", "user_id ' 1'"),
        ("1,10 ,4,978300760", "item_id '10 '"),
        ('" 1",10,4,978300760', "user_id ' 1'"),
        ("\u0661,10,4,978300760", "user_id '\u0661'"),
        ("1,\uff11\uff10,4,978300760", "item_id"),
        ("1,10,4_0,978300760", "rating '4_0'"),
        ("1,10,4e0,978300760", "rating '4e0'"),
        ("1,10,.5,978300760", "rating '.5'"),
        ("1,10,4.,978300760", "rating '4.'"),
        ("1,10,+4,978300760", "rating '+4'"),
        ("1,10,5.0000000000000001,97830076_0", "timestamp '97830076_0'"),
        ("1,10,4,9.7e8", "timestamp '9.7e8'"),
        ("1,10,4, 978300760", "timestamp ' 978300760'"),
        ("1,10,4,\u0669\u0667\u0668\u0663\u0660\u0660\u0667\u0666\u0660", "timestamp"),
    ],
)
def test_a_bad_line_is_named_and_spoils_no_other(line: str, reason: str) -> None:
    reading, rows = taken(f"{HEADER}1,10,4,978300760\n\n{line}\n2,20,4,978300760\n3,0,4,978300760\n")
    assert [problem.line for problem in reading.problems] == [4, 6]
    assert reading.problems[0].reason.startswith(reason) or reason in reading.problems[0].reason
    assert (reading.bad_lines, reading.rows, rows) == (2, 2, [])


def test_bytes_that_are_not_utf8_make_a_bad_line() -> None:
    reading, _ = taken(HEADER.encode() + b"1,10,4,978300760\n\xff2,10,4,978300760\n")
    assert [(p.line, p.reason.split(":")[0]) for p in reading.problems] == [(3, "user_id '\u00ff2'")]
    assert reading.latin1_lines == 1


def test_a_nul_is_named_by_its_line() -> None:
    reading, _ = taken(f"{HEADER}1,10,4,978300760\n1\0,10,4,978300760\n")
    assert [(p.line, p.reason[:15]) for p in reading.problems] == [(3, "a NUL character")]


def test_a_clock_may_be_ahead_as_far_as_the_api_allows() -> None:
    latest = NOW + timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
    assert taken(f"{HEADER}1,10,4,{latest.isoformat()}\n")[0].bad_lines == 0
    assert taken(f"{HEADER}1,10,4,{(latest + timedelta(microseconds=1)).isoformat()}\n")[0].bad_lines == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the file is empty"),
        ("\n1,10,4,978300760\n", "the columns must be user_id, item_id, rating, timestamp, each once, not none"),
        (
            "1,10,4,978300760\n",
            "timestamp, each once, not 1, 10, 4, 978300760",
        ),
        ("user_id,item_id,rating\n", "not user_id, item_id, rating"),
        ("user_id,user_id,item_id,rating,timestamp\n", "not user_id, user_id"),
        ('"user_id,item_id\n', "stray quotation mark"),
        ("user_id,item_id,rating,timestamp,action\n1,10,4,978300760,unrate\n", "not user_id"),
        (HEADER.encode("utf-16").decode("latin-1"), "UTF-16"),
    ],
)
def test_a_file_without_its_header_is_refused_as_a_whole(content: str, reason: str) -> None:
    reading, rows = taken(content if content.isascii() else content.encode("latin-1"))
    assert (reading.bad_lines, reading.problems[0].line, rows) == (1, 1, [])
    assert reason in reading.problems[0].reason


def test_a_header_alone_is_a_batch_of_nothing() -> None:
    reading, rows = taken(HEADER)
    assert (reading.rows, reading.bad_lines, rows) == (0, 0, [])


def test_an_endless_line_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 64)
    reading, _ = taken(HEADER.encode() + b"1,10,4,978300760\n" + b"9" * 300)
    assert [(p.line, p.reason) for p in reading.problems] == [
        (3, "longer than 64 bytes; the rest of the file was not looked at")
    ]


def test_a_byte_order_mark_in_the_middle_is_no_part_of_a_number_wherever_the_blocks_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = f"{HEADER}1,10,4,978300760\n\ufeff2,10,4,978300760\n"
    for block_bytes in range(1, len(content)):
        monkeypatch.setattr(text_file, "BLOCK_BYTES", block_bytes)
        assert taken(content)[0].bad_lines >= 1


def test_a_file_of_nothing_but_bad_lines_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratings_file, "MAX_BAD_LINES", 10)
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 64)
    assert 10 < taken(HEADER + "x\n" * 1_000)[0].bad_lines < 100


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_they_do_anywhere(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "BLOCK_BYTES", 64)
    lines = [HEADER.strip(), *(f"{n},10,4,978300760" for n in range(1, 30)), "x,10,4,978300760"]
    reading, _ = taken(end.join(lines))
    assert [problem.line for problem in reading.problems] == [31]
    assert [row[0] for row in taken(end.join(lines[:-1]) + end * 3)[1]] == list(range(1, 30))


def test_rows_that_repeat_another_are_left_out_and_the_last_word_stays_the_last() -> None:
    same, other = "1,10,4,978300760\n", "1,10,5,978300760\n"
    reading, rows = taken(HEADER + same + same + other + same + "2,10,4,978300760\n" + '"1","10","4.0",978300760\n')
    assert (reading.rows, reading.duplicates.tolist()) == (6, [0, 3])
    assert [row[2] for row in rows] == [4, 5, 4, 4]


def test_of_many_bad_lines_the_first_are_listed_and_all_are_counted() -> None:
    reading, _ = taken(HEADER + "0,10,4,978300760\n" * (MAX_PROBLEMS + 7))
    assert reading.bad_lines == MAX_PROBLEMS + 7
    assert [problem.line for problem in reading.problems] == list(range(2, MAX_PROBLEMS + 2))


@given(
    rows=st.lists(
        st.tuples(
            st.integers(1, MAX_ID),
            st.sampled_from(sorted(ITEMS)),
            st.floats(0.5, 5, width=32),
            st.datetimes(datetime(1970, 1, 2), NOW.replace(tzinfo=None), timezones=st.just(timezone.utc)),
        ),
        max_size=20,
    ),
    block_bytes=st.integers(70, 200),
)
@settings(deadline=None)
def test_what_is_written_is_read_back_whatever_the_blocks(
    rows: list[tuple[int, int, float, datetime]], block_bytes: int
) -> None:
    content = HEADER + "".join(f"{u},{i},{r!r},{t.isoformat()}\n" for u, i, r, t in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "BLOCK_BYTES", block_bytes)
        reading, read_back = taken(content)
    assert reading.bad_lines == 0
    again = [n for n, row in enumerate(rows) if any(row[:2] + row[3:] == r[:2] + r[3:] for r in rows[n + 1 :])]
    if not again:
        assert read_back == [(u, i, float(np.float32(r)), to_microseconds(t)) for u, i, r, t in rows]

"""One landed file: what is valid, and that each bad line is named."""

import hashlib
import io
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.events import MAX_CLOCK_AHEAD_SECONDS
from services.contracts.ids import MAX_ID
from services.contracts.signals import to_microseconds
from services.trainer import landing_csv
from services.trainer.landing_csv import MAX_LINE_BYTES, MAX_PROBLEMS, Problem, Reading, read, spooled

NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)
HEADER = "user_id,item_id,rating,timestamp\n"
ITEMS = frozenset(range(1, 51))
Row = tuple[int, int, float, int]


def taken(content: str | bytes) -> tuple[Reading, list[Row]]:
    """Read the content; return what was found and the rows, time in microseconds."""
    data = content.encode() if isinstance(content, str) else content
    spool = io.BytesIO()
    reading = read(io.BytesIO(data), spool, ITEMS, NOW)
    assert reading.sha256 == hashlib.sha256(data).digest()
    rows: list[Row] = []
    for block in spooled(spool):
        assert block.first_row == len(rows)
        columns = (block.user_id, block.item_id, block.rating, block.time_us)
        rows += zip(*(column.tolist() for column in columns), strict=True)
    return reading, rows


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
        ("x,10,4,978300760", "user_id 'x': Input should be a valid integer"),
        ("0,10,4,978300760", "user_id '0': Input should be greater than or equal to 1"),
        ("9007199254740991,10,4,978300760", "user_id 9007199254740991: reserved for the probe"),
        ("9223372036854775808,10,4,978300760", "user_id '9223372036854775808': Input should be less than or equal to"),
        ("1,,4,978300760", "item_id ''"),
        ("1,51,4,978300760", "item_id 51: not in the catalogue"),
        ("1,10,5.5,978300760", "rating '5.5': Input should be less than or equal to 5"),
        ("1,10,0,978300760", "rating '0': Input should be greater than or equal to 0.5"),
        ("1,10,nan,978300760", "rating 'nan'"),
        ("x,10,inf,978300760", "user_id 'x'"),
        ("1,10,4,", "timestamp '': neither seconds since 1970 nor ISO 8601 with a zone"),
        ("1,10,4,2001-01-01T00:00:00", "timestamp '2001-01-01T00:00:00': neither"),
        ("1,10,4,2001-13-01T00:00:00Z", "timestamp '2001-13-01T00:00:00Z': neither"),
        ("1,10,4,1700000000000", "timestamp '1700000000000': neither"),
        ("1,10,4,-1", "timestamp '-1': neither"),
        ("1,10,4,0", "timestamp 0: before 1970-01-02"),
        ("1,10,4,0001-01-01T00:00:00+14:00", "timestamp 0001-01-01T00:00:00+14:00: before"),
        ("1,10,4,99999999999", "timestamp 99999999999: in the future"),
        ("1,10,4,9999-12-31T23:59:59-14:00", "in the future"),
        ('"1,10,4,978300760', "not CSV"),
        ("1\x00,10,4,978300760", "user_id"),
    ],
)
def test_a_bad_line_is_named_and_spoils_no_other(line: str, reason: str) -> None:
    reading, rows = taken(f"{HEADER}1,10,4,978300760\n{line}\n2,20,4,978300760\n")
    assert [problem.line for problem in reading.problems] == [3]
    assert reading.problems[0].reason.startswith(reason) or reason in reading.problems[0].reason
    assert [row[0] for row in rows] == [1, 2]


def test_bytes_that_are_not_utf8_make_a_bad_line() -> None:
    reading, _ = taken(HEADER.encode() + b"1,10,4,978300760\n\xff2,10,4,978300760\n")
    assert [(p.line, p.reason.split(":")[0]) for p in reading.problems] == [(3, r"user_id '\\xff2'")]


def test_a_clock_may_be_ahead_as_far_as_the_api_allows() -> None:
    latest = NOW + timedelta(seconds=MAX_CLOCK_AHEAD_SECONDS)
    assert taken(f"{HEADER}1,10,4,{latest.isoformat()}\n")[0].bad_lines == 0
    assert taken(f"{HEADER}1,10,4,{(latest + timedelta(microseconds=1)).isoformat()}\n")[0].bad_lines == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "the file is empty"),
        ("\n1,10,4,978300760\n", "the columns must be user_id, item_id, rating, timestamp, not none"),
        ("1,10,4,978300760\n", "the columns must be user_id, item_id, rating, timestamp, not 1, 10, 4, 978300760"),
        ("user_id,item_id,rating\n", "not user_id, item_id, rating"),
        ("user_id,user_id,item_id,rating,timestamp\n", "not user_id, user_id"),
        ('"user_id,item_id\n', "not CSV"),
    ],
)
def test_a_file_without_its_header_is_refused_as_a_whole(content: str, reason: str) -> None:
    reading, rows = taken(content)
    assert (reading.bad_lines, reading.problems[0].line, rows) == (1, 1, [])
    assert reason in reading.problems[0].reason


def test_a_header_alone_is_a_batch_of_nothing() -> None:
    reading, rows = taken(HEADER)
    assert (reading.rows, reading.bad_lines, rows) == (0, 0, [])


def test_an_endless_line_is_not_read_into_memory() -> None:
    reading, rows = taken(HEADER.encode() + b"1,10,4,978300760\n" + b"9" * (3 * MAX_LINE_BYTES))
    assert reading.problems == [
        Problem(3, f"longer than {MAX_LINE_BYTES} bytes; the rest of the file was not looked at")
    ]
    assert len(rows) == 1


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
    block_rows=st.integers(1, 7),
)
def test_what_is_written_is_read_back_whatever_the_blocks(
    rows: list[tuple[int, int, float, datetime]], block_rows: int
) -> None:
    content = HEADER + "".join(f"{u},{i},{r!r},{t.isoformat()}\n" for u, i, r, t in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing_csv, "BLOCK_ROWS", block_rows)
        reading, read_back = taken(content)
    assert reading.bad_lines == 0
    assert read_back == [(u, i, float(np.float32(r)), to_microseconds(t)) for u, i, r, t in rows]

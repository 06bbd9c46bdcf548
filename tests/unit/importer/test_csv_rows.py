"""Arrow's rows and our line numbers beside those of Python's CSV reader, which is strict where RFC 4180 is."""

import csv
import io

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.importer.csv_rows import lines_of, rows_of, stray_quote

COLUMNS = ["a", "b"]
TYPES = dict.fromkeys(COLUMNS, pa.string())
content = st.text('a",\n', max_size=24).map(lambda text: text + "\n")


def with_python(text: str) -> dict[int, list[str]]:
    """Return the rows by the line on which each begins, from 0."""
    reader, rows, begin = csv.reader(io.StringIO(text, newline=""), strict=True), {}, 0
    for row in reader:
        if row:
            rows[begin] = row
        begin = reader.line_num
    return rows


@settings(max_examples=600, deadline=None)
@given(content)
@example('a,"b\n\n""c"\n\na,b\n')
@example('"a\n,b\n",c\n')
def test_rows_and_their_lines_are_those_of_pythons_reader(text: str) -> None:
    data = text.encode()
    if stray_quote(data, ",", multiline=True) is not None:
        return
    rows = rows_of(data, ",", COLUMNS, TYPES, multiline=True)
    lines = lines_of(data, multiline=True).tolist()
    expected = with_python(text)
    assert lines == list(expected)
    values = list(zip(*(rows.columns[name].to_pylist() for name in COLUMNS), strict=True))
    found = dict(zip((lines[record] for record in rows.record), values, strict=True))
    assert found == {line: tuple(row) for line, row in expected.items() if len(row) == len(COLUMNS)}
    assert {lines[record] for record in rows.bad} == expected.keys() - found.keys()


@settings(max_examples=600, deadline=None)
@given(content)
@example('a,"b\na,b\n')
def test_without_line_breaks_in_values_each_line_is_judged_alone(text: str) -> None:
    data = text.encode()
    rows = rows_of(data, ",", COLUMNS, TYPES)
    lines = lines_of(data).tolist()
    given_lines = text.split("\n")
    assert lines == [number for number, line in enumerate(given_lines) if line]
    alone = {
        number: rows_of(f"{line}\n".encode(), ",", COLUMNS, TYPES) for number, line in enumerate(given_lines) if line
    }
    assert {lines[record] for record in rows.bad} == {number for number, one in alone.items() if one.bad}
    found = [{name: rows.columns[name][at].as_py() for name in COLUMNS} for at in range(len(rows.record))]
    assert found == [{k: one.columns[k][0].as_py() for k in COLUMNS} for one in alone.values() if not one.bad]

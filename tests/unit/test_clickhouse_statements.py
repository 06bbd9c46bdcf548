"""The front of the local ClickHouse finds a statement's parts without mistaking data, names or comments for SQL."""

import pytest

from infra.local.clickhouse.errors import ClickHouseError
from infra.local.clickhouse.statements import MAX_HEAD_BYTES, Command, Insert, Select, Statement, parse


def whole(text: bytes) -> Statement:
    statement = parse(text, complete=True)
    assert statement is not None
    return statement


@pytest.mark.parametrize(
    ("text", "head", "fmt", "tail"),
    [
        (b"SELECT 1", b"SELECT 1", None, b""),
        (b"SELECT 1;", b"SELECT 1", None, b""),
        (b"select 1 format JSON settings max_threads = 1 ;", b"select 1 ", "JSON", b"settings max_threads = 1"),
        (b"SELECT format FROM t", b"SELECT format FROM t", None, b""),
        (b"SELECT ' FORMAT CSV'", b"SELECT ' FORMAT CSV'", None, b""),
        (b"SELECT 1 -- FORMAT CSV", b"SELECT 1", None, b""),
        (
            b"/* ; */ (SELECT 1) UNION ALL (SELECT 2) FORMAT CSV",
            b"/* ; */ (SELECT 1) UNION ALL (SELECT 2) ",
            "CSV",
            b"",
        ),
        (b"SELECT * FROM (SELECT 1 FORMAT)", b"SELECT * FROM (SELECT 1 FORMAT)", None, b""),
    ],
)
def test_a_result_s_format_is_the_trailing_clause_only(text: bytes, head: bytes, fmt: str | None, tail: bytes) -> None:
    statement = whole(text)
    assert isinstance(statement, Select)
    assert (statement.head, statement.format, statement.tail) == (head, fmt, tail)


@pytest.mark.parametrize(
    ("text", "head", "settings", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t", b"", b"1,2"),
        (b"INSERT INTO t FORMAT CSV 1,2", b"INSERT INTO t", b"", b"1,2"),
        (b"INSERT INTO t FORMAT CSV \r\n 1", b"INSERT INTO t", b"", b" 1"),
        (b"insert into `a``;b`.`FORMAT x` (`VALUES`) format CSV\nx", b"insert into `a``;b`.`FORMAT x` (`VALUES`)",
         b"", b"x"),
        (b"INSERT INTO format.values (a) SETTINGS b = 'FORMAT' FORMAT CSV\n", b"INSERT INTO format.values (a)",
         b"SETTINGS b = 'FORMAT' ", b""),
    ],
)  # fmt: skip
def test_an_insert_s_rows_begin_where_clickhouse_says(text: bytes, head: bytes, settings: bytes, data: bytes) -> None:
    statement = whole(text)
    assert isinstance(statement, Insert)
    assert (statement.head, statement.settings, text[statement.data_start :]) == (head, settings, data)


def test_an_insert_cut_anywhere_is_either_told_right_or_not_yet() -> None:
    text = b"INSERT INTO `d b`.t (a, `it's FORMAT`) SETTINGS x = 'FORMAT y' FORMAT Native\n\x01\x00"
    told = whole(text)
    early = [parse(text[:end], complete=False) for end in range(len(text) + 1)]
    assert {statement for statement in early if statement is not None} == {told}
    assert early[-2:] == [told, told]


def test_values_and_selects_go_to_the_engine_whole_unless_too_long_for_a_statement() -> None:
    small = b"INSERT INTO t (a) VALUES (1), ({x:Int8})"
    assert whole(small) == Command(small, for_session=False)
    assert isinstance(whole(b"INSERT INTO t SELECT 1"), Command)
    long = b"INSERT INTO t VALUES " + b"(1)," * MAX_HEAD_BYTES
    assert isinstance(parse(long, complete=False), Insert)


@pytest.mark.parametrize("text", [b"", b" -- nothing", b"SELECT 1; DROP TABLE t", b"DROP TABLE a; DROP TABLE b"])
def test_nothing_and_more_than_one_statement_are_syntax_errors(text: bytes) -> None:
    with pytest.raises(ClickHouseError) as refused:
        parse(text, complete=True)
    assert refused.value.code == 62


@pytest.mark.parametrize("text", [b"SET a = 1", b"USE x", b"CREATE OR REPLACE TEMPORARY TABLE t (a Int8)"])
def test_statements_about_the_session_are_known_as_such(text: bytes) -> None:
    assert whole(text) == Command(text, for_session=True)

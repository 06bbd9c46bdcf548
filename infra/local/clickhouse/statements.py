"""What kind of SQL statement a request holds, and where its parts are (pure; bytes in, values out).

The engine has no HTTP interface: results leave it through ``INTO OUTFILE`` and rows enter through ``FROM INFILE``, so
the front must know where a statement's ``FORMAT`` clause stands and where an insert's inline data begins. Those two
clauses are the front's alone: a statement that has one of its own is refused. Nothing else here judges SQL; what isn't
understood goes to the engine whole, and the engine says what is wrong with it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from infra.local.clickhouse.errors import Code, raised

MAX_HEAD_BYTES = 256 * 1024
"""Like ClickHouse's ``max_query_size``: the statement before an insert's data fits in this many bytes."""

_TOKEN = re.compile(
    rb"""(?P<gap>\s++ | --[^\n]*+ | \#[ !][^\n]*+ | /\*.*?\*/)
       | (?P<quoted>'(?:[^'\\]++|\\.|'')*+' | "(?:[^"\\]++|\\.|"")*+" | `(?:[^`\\]++|\\.|``)*+`
                  | \$(?P<here>\w*)\$.*?\$(?P=here)\$)
       | (?P<word>[A-Za-z_]\w*+)
       | (?P<number>[0-9][\w.]*+)
       | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_WITH_RESULT = {b"SELECT", b"WITH", b"FROM", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK", b"KILL"}
_BEFORE_NAME = {b"INTO", b"TABLE", b"FUNCTION", b"."}
_FILE_CLAUSES = {b"OUTFILE", b"INFILE"}
_QUERY_BODY = {b"SELECT", b"WITH", b"FROM", b"WATCH"}


class Token(NamedTuple):
    """One significant piece of SQL; ``text`` is upper-cased for bare words, ``depth`` counts open brackets."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int


@dataclass(frozen=True)
class Select:
    """A statement with a result: ``head`` up to its format, that format (None: the request's default), the rest."""

    head: bytes
    format: str | None
    tail: bytes
    is_query: bool
    """Whether ``head`` may stand as a subquery (a SELECT, and not SHOW, EXPLAIN, …)."""
    kills: bool = False
    """Whether it ends other queries (KILL), which the engine allows whoever started them."""

    def into(self, path: str, default_format: str, marker: str) -> bytes:
        """The statement writing its result to ``path``; ``marker`` finds it again among the running queries."""
        clause = f"\nINTO OUTFILE '{path}' TRUNCATE /* {marker} */ FORMAT {self.format or default_format} "
        return self.head + clause.encode() + self.tail


@dataclass(frozen=True)
class Insert:
    """An insert with its rows in the request: the statement's two halves, the rows' format, and where they begin."""

    head: bytes
    settings: bytes
    format: str
    data_start: int

    def from_file(self, path: str) -> bytes:
        """The statement reading its rows from the file ``path``."""
        return self.head + f" FROM INFILE '{path}' ".encode() + self.settings + f" FORMAT {self.format}".encode()


@dataclass(frozen=True)
class Command:
    """Everything else: DDL, mutations, INSERT … SELECT, small INSERT … VALUES, SYSTEM, …"""

    text: bytes
    for_session: bool
    """Whether its only effect would be on a session (SET, USE, CREATE TEMPORARY TABLE)."""


Statement = Select | Insert | Command


def parse(text: bytes, *, complete: bool) -> Statement | None:
    r"""Read the one statement in ``text``, or return None when more bytes are needed to tell (never if ``complete``).

    >>> parse(b"INSERT INTO t (a) FORMAT CSV\n1", complete=False)
    Insert(head=b'INSERT INTO t (a)', settings=b'', format='CSV', data_start=29)
    >>> parse(b"SELECT 1 FORMAT Native", complete=True).format
    'Native'

    Raises ClickHouseError: 62 on nothing at all, on more than one statement, and on characters that are no SQL outside
    quotation marks (typographic quotes, which the engine reads as quotes); 497 on INTO OUTFILE and FROM INFILE.
    """
    tokens = _significant(text)
    first = next((token for token in tokens if token.text != b"("), None)
    if first is not None and first.text == b"INSERT":
        insert = _insert(text, tokens, complete=complete)
        if insert is not None or not complete:
            return insert
    if not complete:
        return None
    whole = list(_significant(text))
    while whole and whole[-1].text == b";":
        whole.pop()
    if not whole or first is None:
        raise raised(Code.SYNTAX_ERROR, "Syntax error: Empty query.")
    if any(token.text == b";" for token in whole):
        raise raised(Code.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed).")
    end = whole[-1].end
    if first.kind == "word" and first.text in _WITH_RESULT:
        return _select(text, whole, is_query=first.text in _QUERY_BODY, kills=first.text == b"KILL")
    words = [token.text for token in whole[:4]]
    for_session = words[0] in {b"SET", b"USE"} or (words[0] == b"CREATE" and b"TEMPORARY" in words)
    return Command(text[:end], for_session)


def _significant(text: bytes) -> Iterator[Token]:
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "sign"
        if kind == "gap":
            continue
        piece = match.group().upper() if kind == "word" else match.group()
        if kind == "sign" and piece >= b"\x80":
            raise raised(Code.SYNTAX_ERROR, f"Syntax error: unquoted character at byte {match.start()}.")
        if kind == "word" and piece in _FILE_CLAUSES:
            raise raised(Code.ACCESS_DENIED, f"{piece.decode()} is not allowed over HTTP: files are the server's own.")
        if piece in {b")", b"]", b"}"}:
            depth = max(0, depth - 1)
        yield Token(kind, piece, match.start(), match.end(), depth)
        if piece in {b"(", b"[", b"{"}:
            depth += 1


def _select(text: bytes, tokens: list[Token], *, is_query: bool, kills: bool) -> Select:
    end = tokens[-1].end
    for at in range(len(tokens) - 2, 0, -1):
        keyword, name = tokens[at], tokens[at + 1]
        if keyword.depth == 0 and keyword.text == b"FORMAT" and name.kind == "word":
            rest = tokens[at + 2 :]
            if not rest or rest[0].text == b"SETTINGS":
                tail = text[rest[0].start : end] if rest else b""
                return Select(text[: keyword.start], text[name.start : name.end].decode(), tail, is_query, kills)
    return Select(text[:end], None, b"", is_query, kills)


def _insert(text: bytes, tokens: Iterator[Token], *, complete: bool) -> Insert | None:
    """The insert whose data follow in ``text``; None for INSERT … SELECT, small VALUES, and when bytes are missing."""
    settings_start: int | None = None
    previous = b"INTO"
    for token in tokens:
        if not complete and token.text in {b"'", b'"', b"`", b"$"}:
            return None  # the bytes so far end inside a quotation: what follows only looks like SQL
        if token.text == b";":
            return None  # a second statement: `parse` refuses it
        is_name = previous in _BEFORE_NAME and token.text not in _BEFORE_NAME
        previous = token.text
        if is_name or token.depth or token.kind != "word":
            continue
        if token.text in _QUERY_BODY:
            return None
        if token.text == b"SETTINGS":
            settings_start = token.start
        elif token.text in {b"FORMAT", b"VALUES"}:
            head_end = token.start if settings_start is None else settings_start
            settings = b"" if settings_start is None else text[settings_start : token.start]
            if token.text == b"VALUES":
                if len(text) < MAX_HEAD_BYTES:
                    return None  # goes to the engine as it is: it may hold expressions and parameters
                return Insert(text[:head_end].rstrip(), settings, "Values", token.end)
            name = next(tokens, None)
            start = None if name is None else _data_start(text, name.end, complete=complete)
            if name is None or start is None:
                return None
            return Insert(text[:head_end].rstrip(), settings, text[name.start : name.end].decode(), start)
    return None


def _data_start(text: bytes, at: int, *, complete: bool) -> int | None:
    """ClickHouse's rule: data begin after the blanks that follow the format, and after one line end if there is one."""
    while at < len(text) and text[at] in b" \t\f":
        at += 1
    if at < len(text) and text[at : at + 1] == b"\r":
        at += 1
    if at < len(text):
        return at + 1 if text[at : at + 1] == b"\n" else at
    return at if complete else None

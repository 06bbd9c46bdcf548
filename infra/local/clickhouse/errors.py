"""ClickHouse's errors as its HTTP interface shows them: code, message, status, and the trailer of a broken stream."""

import re
from enum import IntEnum


class Code(IntEnum):
    """The codes this front raises itself; the engine's own pass through by number."""

    UNSUPPORTED_METHOD = 1
    NOT_IMPLEMENTED = 48
    SYNTAX_ERROR = 62
    UNKNOWN_FORMAT = 73
    UNKNOWN_SETTING = 115
    TOO_MANY_SIMULTANEOUS_QUERIES = 202
    ABORTED = 236
    QUERY_WAS_CANCELLED = 394
    AUTHENTICATION_FAILED = 516
    UNKNOWN_COMPRESSION_METHOD = 89
    CANNOT_DECOMPRESS = 271
    ACCESS_DENIED = 497
    UNKNOWN_EXCEPTION = 1002


_NOT_FOUND = {16, 46, 47, 50, 56, 60, 63, 73, 81, 82, 115, 155, 511}
_BAD_REQUEST = {6, 25, 26, 27, 32, 36, 38, 41, 42, 43, 53, 62, 69, 72, 117, 168, 216, 321, 427, 441, 467, 675, 676}
_STATUS = {194: 401, 192: 403, 193: 403, 497: 403, 516: 403, 381: 411, 209: 503, 76: 503, 159: 408, 223: 413, 48: 501}

_MESSAGE = re.compile(r"Code: (?P<code>\d+)\. DB::Exception: (?P<text>.*)", re.DOTALL)
_NESTED = re.compile(
    r"(?P<inner>Code: \d+\. DB::Exception: .*\([A-Z0-9_]+\)) \(version [^()]*\)\. \([A-Z0-9_]+\)\Z", re.DOTALL
)


class ClickHouseError(Exception):
    """One failed request. ``code`` is ClickHouse's number; ``str()`` its message, without code and version."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status ClickHouse's own handler gives this code."""
        if self.code in _NOT_FOUND:
            return 404
        if self.code in _BAD_REQUEST:
            return 400
        return _STATUS.get(self.code, 500)

    def message(self, version: str) -> str:
        """The line a ClickHouse server would answer with.

        >>> ClickHouseError(60, "Table default.x does not exist. (UNKNOWN_TABLE)").message("26.9")
        'Code: 60. DB::Exception: Table default.x does not exist. (UNKNOWN_TABLE) (version 26.9)'
        """
        return f"Code: {self.code}. DB::Exception: {self} (version {version})"


def raised(code: Code, text: str) -> ClickHouseError:
    """An error of our own, worded as the server words its own: text, then the code's name in brackets."""
    return ClickHouseError(code, f"{text} ({code.name})")


def from_engine(message: str) -> ClickHouseError:
    """Read an engine error message; anything without a code becomes UNKNOWN_EXCEPTION, never a success.

    >>> from_engine("Code: 60. DB::Exception: No table. (UNKNOWN_TABLE)").code
    60
    >>> str(from_engine("Code: 115. DB::Exception: Code: 115. DB::Exception: Unknown setting 'x'. (UNKNOWN_SETTING)"
    ...                 " (version 26.9.2.1). (UNKNOWN_SETTING)"))
    "Unknown setting 'x'. (UNKNOWN_SETTING)"
    """
    found = _MESSAGE.search(message)
    if found is None:
        return raised(Code.UNKNOWN_EXCEPTION, message.strip() or "The engine gave no reason")
    nested = _NESTED.fullmatch(found["text"])
    if nested is not None:
        return from_engine(nested["inner"])
    return ClickHouseError(int(found["code"]), found["text"].strip())


def stream_trailer(message: str, tag: str) -> bytes:
    r"""What ClickHouse writes into a body already begun, under ``X-ClickHouse-Exception-Tag``, before cutting it off.

    >>> stream_trailer("Code: 1.", "abc")
    b'\r\n__exception__\r\nabc\r\nCode: 1.\n9 abc\r\n__exception__\r\n'
    """
    text = message.encode()
    if not text.endswith(b"\n"):
        text += b"\n"
    return b"\r\n__exception__\r\n%s\r\n%s%d %s\r\n__exception__\r\n" % (tag.encode(), text, len(text), tag.encode())

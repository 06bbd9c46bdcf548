"""ClickHouse's errors, sorted by what the consumer does about them. Pure."""

import re
from enum import StrEnum

from clickhouse_connect.driver.exceptions import DataError, Error


class Remedy(StrEnum):
    """What to do about a failed insert."""

    RETRY = "retry"
    """Retry the same bytes with the same token: network errors, overload and unknown errors."""
    BISECT = "bisect"
    """A row is at fault: find it and quarantine it."""
    REFUSED = "refused"
    """Access refused: retry slowly and log errors; never quarantine, never commit."""
    STOP = "stop"
    """The schema is not as expected: stop."""


class StopError(Exception):
    """The consumer must stop until a person has looked. The message says what to do."""


# Numbers of ClickHouse's src/Common/ErrorCodes.cpp.
_REFUSED = {
    164,  # READONLY
    192, 193, 194, 195,  # UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, IP_ADDRESS_NOT_ALLOWED
    497,  # ACCESS_DENIED
    516,  # AUTHENTICATION_FAILED
}  # fmt: skip
_DATA = {
    6, 26, 27,  # CANNOT_PARSE_TEXT, CANNOT_PARSE_QUOTED_STRING, CANNOT_PARSE_INPUT_ASSERTION_FAILED
    38, 41, 72,  # CANNOT_PARSE_DATE, CANNOT_PARSE_DATETIME, CANNOT_PARSE_NUMBER
    69, 70,  # ARGUMENT_OUT_OF_BOUND, CANNOT_CONVERT_TYPE
    117,  # INCORRECT_DATA
    131,  # TOO_LARGE_STRING_SIZE
    321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    376,  # CANNOT_PARSE_UUID
    469,  # VIOLATED_CONSTRAINT
    691,  # UNKNOWN_ELEMENT_OF_ENUM
}  # fmt: skip
_SCHEMA = {
    16,  # NO_SUCH_COLUMN_IN_TABLE
    47,  # UNKNOWN_IDENTIFIER
    53,  # TYPE_MISMATCH
    60,  # UNKNOWN_TABLE
    81,  # UNKNOWN_DATABASE
}
_HTTP_REFUSED = re.compile(r"\bHTTP (?:status |error )?(?:code )?(?:401|403)\b|\bstatus 40[13]\b", re.IGNORECASE)


def code_of(error: BaseException) -> int | None:
    """Return ClickHouse's error number, when the server answered with one."""
    return error.code if isinstance(error, Error) else None


def remedy_for(error: BaseException) -> Remedy:
    """Return what to do about an insert that raised ``error``. Unknown errors are retried, never quarantined."""
    code = code_of(error)
    if code in _REFUSED or (code is None and _HTTP_REFUSED.search(str(error))):
        return Remedy.REFUSED
    if code in _SCHEMA:
        return Remedy.STOP
    if code in _DATA or (code is None and isinstance(error, DataError | OverflowError | UnicodeError)):
        return Remedy.BISECT
    return Remedy.RETRY


def label_of(error: BaseException) -> str:
    """Return a short name of the error for a metric's label."""
    code = code_of(error)
    return str(code) if code is not None else type(error).__name__

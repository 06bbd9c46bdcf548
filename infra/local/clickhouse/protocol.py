"""One request of ClickHouse's HTTP interface as a value, and the headers of its answer (pure)."""

import base64
import binascii
import hmac
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from infra.local.clickhouse.access import READER
from infra.local.clickhouse.errors import Code, raised

_TRANSPORT = {
    "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check",
    "close_session", "user", "password", "quota_key", "wait_end_of_query", "buffer_size", "enable_http_compression",
    "stacktrace", "client_protocol_version",
}  # fmt: skip
"""URL parameters that speak to the interface; every other one is a setting (or ``param_…``)."""

_UNSUPPORTED = ("compress", "decompress", "role")
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]+\Z")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Account:
    """A user that the server knows, and the role (one of ``access.GRANTS``) that says what it may do."""

    user: str
    password: str = field(repr=False)
    role: str


def authenticated(accounts: Iterable[Account], headers: Mapping[str, str], url: Mapping[str, str]) -> Account:
    """The account whose name and password the request carries. Raises ClickHouseError (516) when there is none."""
    user, password = _credentials(headers, url)
    for account in accounts:
        same_user = hmac.compare_digest(user.encode(), account.user.encode())
        if hmac.compare_digest(password.encode(), account.password.encode()) and same_user:
            return account
    reason = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
    raise raised(Code.AUTHENTICATION_FAILED, reason)


def _credentials(headers: Mapping[str, str], url: Mapping[str, str]) -> tuple[str, str]:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise raised(Code.AUTHENTICATION_FAILED, "Invalid HTTP Basic credentials.") from error
        return user, password
    return url.get("user", "default"), url.get("password", "")


@dataclass(frozen=True)
class QueryContext:
    """What a query runs under, beside its text: in the rights of ``role`` (one of ``access.GRANTS``). Settings and
    parameters are the client's strings, unchecked."""

    role: str
    database: str
    settings: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class QueryRequest:
    """What a request asks, apart from its body."""

    context: QueryContext
    query: bytes
    default_format: str
    query_id: str
    session_id: str
    wait_end_of_query: bool
    may_compress: bool

    @classmethod
    def of(
        cls, account: Account, method: str, headers: Mapping[str, str], url: Iterable[tuple[str, str]]
    ) -> "QueryRequest":
        """Read a request's headers (lower-case names) and URL (or form) parameters.

        Raises ClickHouseError: 115 for a name that can't be a setting's, 73 for one that can't be a format's, 48 for
        what this front doesn't speak.
        """
        given = dict(url)
        for name in _UNSUPPORTED:
            if given.get(name, "0") not in {"", "0"}:
                raise raised(Code.NOT_IMPLEMENTED, f"The local ClickHouse does not support the URL parameter {name!r}.")
        names = given.keys() - _TRANSPORT - set(_UNSUPPORTED)
        parameters = {name.removeprefix("param_"): given[name] for name in names if name.startswith("param_")}
        settings = {name: given[name] for name in given if name in names and not name.startswith("param_")}
        for name in settings:
            if _SETTING_NAME.match(name) is None:
                raise raised(Code.UNKNOWN_SETTING, f"Unknown setting '{name}'.")
        default_format = given.get("default_format", headers.get("x-clickhouse-format", "TabSeparated"))
        if _FORMAT_NAME.match(default_format) is None:
            raise raised(Code.UNKNOWN_FORMAT, f"Unknown format {default_format}.")
        asked_for = settings.pop("readonly", "0")
        # ClickHouse's own rule: GET changes nothing.
        reads_only = method in {"GET", "HEAD"} or account.role == READER
        if asked_for not in {"", "0"} or reads_only:
            settings["readonly"] = asked_for if asked_for in {"1", "2"} else "2"  # the last: no setting comes after it
        return cls(
            context=QueryContext(
                account.role,
                given.get("database", headers.get("x-clickhouse-database", "")),
                settings,
                parameters,
            ),
            query=given.get("query", "").encode(),
            default_format=default_format,
            query_id=given.get("query_id") or str(uuid.uuid4()),
            session_id=given.get("session_id", ""),
            wait_end_of_query=given.get("wait_end_of_query", "0") not in {"", "0", "false"},
            may_compress=given.get("enable_http_compression", "1") not in {"", "0", "false"},
        )


@dataclass(frozen=True)
class Statistics:
    """What a finished query did. ``written_rows`` counts, as the server does, rows written through views as well."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_seconds: float = 0.0

    def header(self) -> str:
        """The value of ``X-ClickHouse-Summary``: a JSON object of decimal strings."""
        counts = {
            "read_rows": self.read_rows,
            "read_bytes": self.read_bytes,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "elapsed_ns": round(self.elapsed_seconds * 1e9),
        }
        return json.dumps({name: str(count) for name, count in counts.items()}, separators=(",", ":"))


def empty_native_block(columns: Iterable[tuple[str, str]]) -> bytes:
    r"""A Native block of no rows: what the server sends for an empty result, so that clients learn its columns.

    >>> empty_native_block([("a", "UInt8")])
    b'\x01\x00\x01a\x05UInt8'
    """
    pairs = list(columns)
    return _varint(len(pairs)) + _varint(0) + b"".join(_string(name) + _string(kind) for name, kind in pairs)


def _string(text: str) -> bytes:
    raw = text.encode()
    return _varint(len(raw)) + raw


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

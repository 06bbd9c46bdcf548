"""Decodes a record into a row of its table, or into the reason for quarantine. Pure."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from services.consumer.record import Record
from services.contracts.events import Event, from_json
from services.contracts.impressions import Impression
from services.contracts.signals import DECODER_VERSION, to_microseconds
from services.contracts.tables import EVENTS, IMPRESSIONS

_SHOWN_PROBLEMS = 5
_COUNTED_PROBLEMS = 1_000
"""Beyond this, errors are only counted: naming 100,000 unknown fields takes a fifth of a second."""
_USER_ID = re.compile(rb'"user_id"\s*:\s*"?([0-9]{1,19})(?![0-9])')
_LARGEST_INT64 = 2**63 - 1
"""What the quarantine's column of viewers holds."""

Row = tuple[Any, ...]
"""The values of one row in the order of its stream's columns; offset and user at the same place in every stream."""
OFFSET, USER = 2, 4


class Reason(StrEnum):
    """Why a record is in quarantine."""

    EMPTY = "empty"
    JSON = "json"
    SCHEMA_VERSION = "schema_version"
    INVALID = "invalid"
    REFUSED = "refused_by_clickhouse"


class UndecodableError(Exception):
    """The record is not valid for its topic. ``detail`` names fields and rules, never values."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Stream:
    """How the records of one topic are decoded and stored."""

    topic: str
    table: str
    columns: tuple[str, ...]
    decode: Callable[[Record, int], Row]


EVENT_COLUMNS = (
    "epoch", "partition", "offset", "record_time", "user_id", "event_id", "item_id", "action", "value", "event_time",
    "request_id", "source", "schema_version", "decoder_version",
)  # fmt: skip
IMPRESSION_COLUMNS = (
    "epoch", "partition", "offset", "record_time", "user_id", "request_id", "item_ids", "strategy", "variant",
    "model_version", "served_at", "schema_version",
)  # fmt: skip


def decode_event(record: Record, epoch: int) -> Row:
    """Return the record as a row of `EVENT_COLUMNS`; times as ticks of their columns (ms, µs), ids as integers.

    Raises:
        UndecodableError: it is not a valid event.
    """
    try:
        event = from_json(Event, record.value, _time_of(record))
    except ValidationError as error:
        raise _undecodable(record.value, error) from error
    return (
        epoch,
        record.partition,
        record.offset,
        record.time_ms,
        event.user_id,
        event.event_id.int,
        event.item_id,
        event.action.value,
        event.value,
        to_microseconds(event.event_time),
        event.request_id.int if event.request_id else None,
        event.source,
        event.schema_version,
        DECODER_VERSION,
    )


def decode_impression(record: Record, epoch: int) -> Row:
    """Return the record as a row of `IMPRESSION_COLUMNS`; times as ticks of their columns (ms, µs), ids as integers.

    Raises:
        UndecodableError: it is not a valid impression.
    """
    try:
        shown = from_json(Impression, record.value, _time_of(record))
    except ValidationError as error:
        raise _undecodable(record.value, error) from error
    return (
        epoch,
        record.partition,
        record.offset,
        record.time_ms,
        shown.user_id,
        shown.request_id.int,
        shown.item_ids,
        shown.strategy,
        shown.variant,
        shown.model_version,
        to_microseconds(shown.served_at),
        shown.schema_version,
    )


def events_stream(topic: str) -> Stream:
    """The stream of feedback events on ``topic``."""
    return Stream(topic, EVENTS, EVENT_COLUMNS, decode_event)


def impressions_stream(topic: str) -> Stream:
    """The stream of served lists on ``topic``."""
    return Stream(topic, IMPRESSIONS, IMPRESSION_COLUMNS, decode_impression)


def user_of(record: Record) -> int | None:
    """Return the viewer of a record, valid or not, so that quarantined records can be erased too.

    The value's ``user_id`` takes precedence over the key, which our producers set to the same number; of several the
    last counts, as for parsers. If the bytes are not JSON, or have numbers or a depth that Python's parser refuses,
    they are searched for it. Never raises, whatever the bytes are.
    """
    try:
        value = json.loads(record.value)
    except (ValueError, RecursionError):
        found = _USER_ID.findall(record.value)
        candidate: object = found[-1].decode("ascii") if found else None
    else:
        candidate = value.get("user_id") if isinstance(value, dict) else None
    user = _as_id(candidate)
    return user if user is not None else _as_id(record.key.decode("ascii", "replace"))


def _as_id(candidate: object) -> int | None:
    if isinstance(candidate, str):
        is_number = candidate.isascii() and candidate.isdigit() and len(candidate) <= len(str(_LARGEST_INT64))
        candidate = int(candidate) if is_number else None
    elif isinstance(candidate, float):
        candidate = int(candidate) if candidate.is_integer() else None
    is_id = isinstance(candidate, int) and not isinstance(candidate, bool) and 1 <= candidate <= _LARGEST_INT64
    return int(candidate) if is_id else None  # type: ignore[call-overload]


def _time_of(record: Record) -> datetime:
    return datetime.fromtimestamp(record.time_ms / 1000, timezone.utc)


def _undecodable(value: bytes, error: ValidationError) -> UndecodableError:
    if not value:
        return UndecodableError(Reason.EMPTY, "the record has no value")
    if error.error_count() > _COUNTED_PROBLEMS:
        return UndecodableError(Reason.INVALID, f"{error.error_count()} fields are unknown or invalid")
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    if any(p["type"] == "json_invalid" for p in problems):
        return UndecodableError(Reason.JSON, "not JSON")
    reason = Reason.SCHEMA_VERSION if any(p["loc"] == ("schema_version",) for p in problems) else Reason.INVALID
    # An unknown field's name is the sender's text, as its value is.
    shown = [
        "unknown field" if p["type"] == "extra_forbidden" else f"{'.'.join(map(str, p['loc']))}: {p['msg']}"
        for p in problems[:_SHOWN_PROBLEMS]
    ]
    return UndecodableError(reason, "; ".join(shown))

"""The fast path from a record to its change, for records exactly as our own producer writes them.

`services.contracts.events` alone defines a valid event. This module recognises one form that is always valid but for
its time; everything else is left to the slow path. A property test checks that both agree wherever this one answers.
"""

import re
from datetime import datetime
from uuid import UUID

from services.contracts.events import EARLIEST_EVENT_TIME, MAX_CLOCK_AHEAD_SECONDS, Action, Event
from services.contracts.ids import PROBE_SOURCE, ItemId, UserId
from services.contracts.signals import BITS_BELOW_ID, EPOCH, ID_BITS, to_microseconds
from services.inference.history.live import Change
from services.inference.history.stamps import slot_and_version

_STARS = [half / 2 for half in range(1, 11)]
_ID = rb"([1-9][0-9]{0,14})"  # below 10^15: within bounds, and not reserved
_UUID_START = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}"
_OTHERS = "|".join(action for action in Action if action is not Action.RATE).encode()
_FORM = re.compile(
    rb'\{"user_id":' + _ID + rb',"item_id":' + _ID + rb',"action":"'
    rb"(?:(" + _OTHERS + rb')","value":null|rate","value":(' + b"|".join(str(s).encode() for s in _STARS) + rb"))"
    rb',"request_id":(?:null|"' + _UUID_START + rb'[0-9a-f]{8}")'
    rb',"source":"(?!' + PROBE_SOURCE.encode() + rb'")[a-z0-9][a-z0-9_.-]{0,63}"'
    rb',"event_id":"' + _UUID_START + rb'([0-9a-f]{8})"'
    rb',"event_time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?)Z","schema_version":1\}'
).fullmatch


def _lowest(action: Action, value: float | None) -> tuple[int, int]:
    """Return the lowest bits of slot and version, which depend on neither film, time nor id."""
    event = Event(
        user_id=UserId(1), item_id=ItemId(1), action=action, value=value, event_id=UUID(int=0),
        event_time=EARLIEST_EVENT_TIME,
    )  # fmt: skip
    slot, version = slot_and_version(event)
    return slot & 3, version & (1 << BITS_BELOW_ID) - 1


_CODE_AND_BITS = {action.value.encode(): _lowest(action, None) for action in Action if action is not Action.RATE}
_CODE_AND_BITS |= {str(stars).encode(): _lowest(Action.RATE, stars) for stars in _STARS}
_ID_MASK = (1 << ID_BITS) - 1
_EPOCH = EPOCH.replace(tzinfo=None)
_EARLIEST = to_microseconds(EARLIEST_EVENT_TIME)
_AHEAD_MS = MAX_CLOCK_AHEAD_SECONDS * 1_000


def quick_change(value: bytes, time_ms: int) -> Change | None:
    """Return the record's change; None: use the slow path. ``time_ms`` is the record's own time.

    >>> quick_change(b"{}", 0) is None
    True
    """
    found = _FORM(value)
    if found is None:
        return None
    user_id, item_id, action, stars, id_end, text = found.groups()
    try:
        time = datetime.fromisoformat(text.decode()) - _EPOCH
    except ValueError:
        return None
    time_us = (time.days * 86_400 + time.seconds) * 1_000_000 + time.microseconds
    if not _EARLIEST <= time_us <= (time_ms + _AHEAD_MS) * 1_000:
        return None
    code, bits = _CODE_AND_BITS[action or stars]
    return (
        UserId(int(user_id)),
        int(item_id) << 2 | code,
        time_us << 64 | (int(id_end, 16) & _ID_MASK) << BITS_BELOW_ID | bits,
    )

"""``python -m tests.faults.changed_consumer CHANGE``: the consumer as a bad deploy, or an older version, has it."""

import sys
from enum import StrEnum

from services.consumer import decode
from services.consumer.decode import EVENT_COLUMNS, Reason, Row, UndecodableError
from services.consumer.record import Record
from services.contracts import signals

NEW_SOURCE = "tv"
"""Events of this source are not understood by the stricter decoder."""
_right = decode.decode_event


class Change(StrEnum):
    """How it differs from the present consumer."""

    REFUSES_ALL = "refuses-all"
    """Takes no event for valid."""
    STRICTER = "stricter"
    """Does not know `NEW_SOURCE`, under the same decoder version: whoever wrote it forgot to raise that."""
    WRONG_VALUES = "wrong-values"
    """An older version that takes any number of stars for one."""


def _refuses_all(_record: Record, _epoch: int) -> Row:
    raise UndecodableError(Reason.INVALID, "a bad deploy")


def _stricter(record: Record, epoch: int) -> Row:
    row = _right(record, epoch)
    if row[EVENT_COLUMNS.index("source")] == NEW_SOURCE:
        raise UndecodableError(Reason.INVALID, "source: unknown")
    return row


def _wrong_values(record: Record, epoch: int) -> Row:
    row = list(_right(record, epoch))
    value = EVENT_COLUMNS.index("value")
    row[value] = None if row[value] is None else 1.0
    row[EVENT_COLUMNS.index("decoder_version")] = signals.DECODER_VERSION
    return tuple(row)


if __name__ == "__main__":
    change = Change(sys.argv.pop(1))
    decoders = {
        Change.REFUSES_ALL: _refuses_all,
        Change.STRICTER: _stricter,
        Change.WRONG_VALUES: _wrong_values,
    }
    setattr(decode, _right.__name__, decoders[change])
    if change is Change.WRONG_VALUES:
        signals.DECODER_VERSION -= 1
    from services.consumer.__main__ import main  # takes the decoder's version by name, so only now

    sys.exit(main())

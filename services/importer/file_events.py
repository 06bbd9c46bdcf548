"""Ratings of a file as rows of the table ``events``: each row is identified by the file's content and its own number.

The same file loaded twice, under whatever name, gives the same rows, which ClickHouse keeps once.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.contracts.events import SCHEMA_VERSION, Action
from services.contracts.signals import DECODER_VERSION
from services.contracts.tables import FILES_EPOCH
from services.importer.ratings_file import RatingsBlock

_VERSION_8 = 0x8 << 12
_VARIANT = 1 << 63


def partition_of(content_sha256: bytes) -> int:
    """Return the partition that stands for a file: the first 8 bytes of its SHA-256."""
    return int.from_bytes(content_sha256[:8], "big")


def event_ids(content_sha256: bytes, rows: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return event ids (UUID version 8, RFC 9562) as (n, 2) upper and lower halves, a pure function of content and row.

    The lower half is the row's number, so that of two ratings with equal times the later row wins:
    `signal_version` breaks ties by its lowest 26 bits.

    >>> upper, lower = event_ids(bytes(range(32)), np.array([7]))[0].tolist()
    >>> import uuid; uuid.UUID(int=upper << 64 | lower)
    UUID('00010203-0405-8607-8000-000000000007')
    """
    upper = (int.from_bytes(content_sha256[:8], "big") & ~0xF000) | _VERSION_8
    ids = np.empty((len(rows), 2), np.uint64)
    ids[:, 0] = upper
    ids[:, 1] = rows.astype(np.uint64) | np.uint64(_VARIANT)
    return ids


def to_arrow(block: RatingsBlock, content_sha256: bytes, source: str) -> Any:
    """Return the block as an Arrow table with the columns of ``events``, each rating a `rate` event of ``source``."""
    n = len(block)
    # 16 bytes in the order in which a UUID is written.
    ids = pa.py_buffer(event_ids(content_sha256, block.row).astype(">u8").tobytes())
    return pa.table(
        {
            "epoch": pa.repeat(pa.scalar(FILES_EPOCH, pa.uint64()), n),
            "partition": pa.repeat(pa.scalar(partition_of(content_sha256), pa.uint64()), n),
            "offset": pa.array(block.row.astype(np.uint64)),
            "record_time": pa.repeat(pa.scalar(0, pa.timestamp("ms", tz="UTC")), n),
            "event_id": pa.Array.from_buffers(pa.binary(16), n, [None, ids]),
            "user_id": pa.array(block.user_id),
            "item_id": pa.array(block.item_id),
            "action": _constant(Action.RATE.value, n),
            "value": pa.array(block.rating),
            "event_time": pa.array(block.time_us, pa.timestamp("us", tz="UTC")),
            "source": _constant(source, n),
            "schema_version": pa.repeat(pa.scalar(SCHEMA_VERSION, pa.uint8()), n),
            "decoder_version": pa.repeat(pa.scalar(DECODER_VERSION, pa.uint8()), n),
        }
    )


def _constant(text: str, n: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), pa.array([text]))

"""Reads the weights from ClickHouse on Spark's executors, each a slice of the viewers of its own.

The executors run this file: it needs NumPy, PyArrow, pydantic, tenacity and clickhouse-connect, but no RecTools.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import SecretStr

from services.common import clickhouse
from services.common.confidence import weights
from services.contracts.bundle import ConfidenceParameters
from services.contracts.ids import PROBE_USER
from services.contracts.signals import Signal
from services.contracts.tables import SIGNALS_VIEW
from services.trainer.engines.spark_objective import mllib_ratings

RATINGS_SCHEMA = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("rating", pa.float32())])
"""What MLlib trains on: positions on the axes, and the rating."""


@dataclass(frozen=True)
class ClickHouseSource:
    """Where the signals are, and how they become weights."""

    url: SecretStr
    """As the executors reach it."""
    confidence: ConfidenceParameters


@dataclass(frozen=True)
class Wanted:
    """What to read."""

    user_ids: NDArray[np.int64]
    """Ascending."""
    item_ids: NDArray[np.int64]
    """Ascending."""
    before_us: int
    """Signals whose latest value is of this time, in µs since 1970 UTC, or later are left out."""


def slices(rows_of_user: NDArray[np.int64], count: int) -> list[tuple[int, int]]:
    """Return at most ``count`` ranges [first, end) of users, of about equally many rows; together they are all users.

    >>> slices(np.array([5, 1, 1, 1, 2]), 2)
    [(0, 1), (1, 5)]
    """
    ends = np.cumsum(rows_of_user)
    if len(ends) == 0:
        return []
    targets = ends[-1] * np.arange(1, count) / count
    bounds = np.unique([0, *(np.searchsorted(ends, targets) + 1), len(ends)]).tolist()
    return list(pairwise(bounds))


def slice_query(first_user: int, last_user: int, before_us: int) -> str:
    """Return the SQL of the latest signals of the users from ``first_user`` to ``last_user``, one row per film.

    The view has each signal once at most: ``maxIf`` returns it, or 0 where there is none.
    """
    opinion, rating, watched = (
        f"maxIf(value, signal = '{signal.value}')" for signal in (Signal.OPINION, Signal.RATING, Signal.WATCHED)
    )
    return (
        f"SELECT user_id, item_id, toInt8({opinion}) AS opinion, toFloat32({rating}) AS rating,"  # noqa: S608
        f" toUInt8({watched}) AS watched FROM {SIGNALS_VIEW}"
        f" WHERE user_id BETWEEN {first_user} AND {last_user} AND user_id != {PROBE_USER}"
        f" AND bitShiftRight(version, 64) < {before_us} GROUP BY user_id, item_id ORDER BY user_id, item_id"
    )


def read_slice(source: ClickHouseSource, wanted: Wanted, first: int, end: int, alpha: float) -> pa.RecordBatch:
    """Return the ratings (`RATINGS_SCHEMA`) of the users at the positions [first, end).

    Neutral films are left out, and so are users without a positive, whose factors are 0 whatever they dislike.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    query = slice_query(int(wanted.user_ids[first]), int(wanted.user_ids[end - 1]), wanted.before_us)
    client = clickhouse.connect(source.url)
    try:
        table = client.query_arrow(query)
    finally:
        client.close()
    user_id, item_id, opinion, rating, watched = (
        table.column(name).to_numpy() for name in ("user_id", "item_id", "opinion", "rating", "watched")
    )
    rating = np.where(rating == 0, np.float32(np.nan), rating)  # 0: never given, or withdrawn
    weight = weights(opinion, rating, watched, source.confidence)
    user, known_user = _positions(wanted.user_ids, user_id)
    item, known_item = _positions(wanted.item_ids, item_id)
    kept = known_user & known_item & (weight != 0)
    kept &= np.isin(user, user[kept & (weight > 0)])
    return ratings_batch(user[kept], item[kept], weight[kept], alpha)


def ratings_batch(
    user: NDArray[np.int64], item: NDArray[np.int64], weight: NDArray[np.float32], alpha: float
) -> pa.RecordBatch:
    """Return rows of `RATINGS_SCHEMA`; the arguments are equally long."""
    columns = [user.astype(np.int32), item.astype(np.int32), mllib_ratings(weight, alpha)]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=RATINGS_SCHEMA)


def reader_of(
    source: ClickHouseSource, wanted: Callable[[], Wanted], parts: list[tuple[int, int]], alpha: float
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return what Spark maps over batches of slice numbers (column ``id``): it reads those slices.

    ``wanted`` is called on the executor; it is usually the value of a broadcast.
    """

    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column("id").to_pylist():
                first, end = parts[number]
                yield read_slice(source, wanted(), first, end, alpha)

    return read


def _positions(axis: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the ids' positions on an ascending axis, and whether they are on it at all."""
    at = np.minimum(np.searchsorted(axis, ids), len(axis) - 1)
    return at, axis[at] == ids

"""Reads all signals from ClickHouse, with the Kafka offsets up to which they are complete."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from clickhouse_connect.driver.client import Client
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from numpy.typing import NDArray
from tqdm import tqdm

from services.common import audit
from services.common.kafka import TopicIdentity, describe_topic, end_offsets
from services.contracts.ids import PROBE_USER
from services.contracts.tables import SIGNALS_VIEW
from services.contracts.topics import EVENTS_TOPIC
from services.trainer.data.signals import KINDS, Signals

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.5


class ExtractError(Exception):
    """The data is incomplete or cannot be read; the message names what is missing."""


@dataclass(frozen=True)
class Cut:
    """Every event below these offsets is in ClickHouse."""

    topic_id: str | None
    """None: there is no topic yet."""
    offsets: dict[int, int]


def wait_until_complete(
    client: Client,
    kafka: AdminClient,
    wait_seconds: float,
    *,
    topic: str = EVENTS_TOPIC,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Cut:
    """Return the topic's present end offsets, once the audit finds every offset below them in ClickHouse. Blocks.

    Raises:
        ExtractError: the audit still misses offsets after ``wait_seconds``.
        KafkaException: the broker does not answer.
    """
    identity = _identity(kafka, topic)
    if identity is None:
        return Cut(None, {})
    ends = end_offsets(kafka, identity)
    deadline = clock() + wait_seconds
    while True:
        # Read each time, as the consumer may have started only now.
        missing = audit.missing(client, identity, ends, audit.first_offsets(client, identity))
        gaps = {partition: count for partition, count in missing.items() if count > 0}
        if not gaps:
            return Cut(identity.topic_id, ends)
        if clock() >= deadline:
            listed = ", ".join(f"partition {p}: {count} below offset {ends[p]}" for p, count in gaps.items())
            raise ExtractError(
                f"after {wait_seconds:g} s ClickHouse still misses events of the topic {topic}: {listed};"
                " is the consumer running? See `python -m services.consumer audit`"
            )
        log.info("waiting until the consumer has caught up", extra={"missing": gaps})
        pause(_POLL_SECONDS)


def read_signals(client: Client) -> Signals:
    """Stream all signals of viewers who are not erased, in Arrow batches; memory is that of the result, 37 bytes a row.

    The probe's are left out.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    kinds = ", ".join(f"'{kind.value}'" for kind in KINDS)
    query = (
        "SELECT user_id, item_id, toUInt8(indexOf([" + kinds + "], toString(signal)) - 1) AS kind, value,"  # noqa: S608
        " toUInt64(bitShiftRight(version, 64)) AS time_us, toUInt64(bitAnd(version, 18446744073709551615)) AS id_low"
        f" FROM {SIGNALS_VIEW} WHERE user_id != {PROBE_USER}"
    )
    dtypes = {"user_id": "i8", "item_id": "i8", "kind": "u1", "value": "f4", "time_us": "u8", "id_low": "u8"}
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in dtypes}
    with (
        client.query_arrow_stream(query) as stream,
        tqdm(desc="signals", unit=" rows", unit_scale=True, file=sys.stderr, mininterval=1) as bar,
    ):
        for batch in stream:
            for name, dtype in dtypes.items():
                parts[name].append(batch.column(name).to_numpy().astype(dtype, copy=True))
            bar.update(batch.num_rows)
    signals = Signals(**{name: np.concatenate([np.empty(0, dtypes[name]), *parts.pop(name)]) for name in dtypes})
    if len(signals) and int(signals.kind.max()) >= len(KINDS):
        raise ExtractError(f"ClickHouse holds signals that this release does not know, beside {kinds}")
    return signals


def _identity(kafka: AdminClient, topic: str) -> TopicIdentity | None:
    try:
        return describe_topic(kafka, topic)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise

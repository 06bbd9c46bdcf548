"""Metrics from PostgreSQL: the champion, the steps of the nightly run, pending erasures."""

from datetime import datetime, timezone
from typing import Any

from psycopg import Connection, sql

from services.common import erased, registry
from services.contracts.bundle import ConfidenceParameters
from services.contracts.metrics import (
    ERASURE_OLDEST_PENDING,
    ERASURES_PENDING,
    MODEL_CHAMPION_INFO,
    MODEL_CHAMPION_TRAINED,
    MODEL_OFFLINE_METRIC,
    STEP_LAST_DURATION,
    STEP_LAST_STATUS,
    STEP_LAST_SUCCESS,
)
from services.contracts.tables import ITEMS, TRAINER_STEPS
from services.exporter.gauges import Samples

_STEPS = sql.SQL(
    "SELECT DISTINCT ON (step) step, exit_status, extract(epoch FROM finished_at - started_at)::float8,"
    " extract(epoch FROM max(finished_at) FILTER (WHERE exit_status = 0) OVER (PARTITION BY step))::float8"
    " FROM {} ORDER BY step, finished_at DESC"
).format(sql.Identifier(TRAINER_STEPS))


def collect(connection: Connection[Any]) -> Samples:
    """Return the champion, the newest version's offline metrics, each step's last outcome, and pending erasures.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    champion = registry.champion(connection)
    newest = registry.versions(connection, limit=1)
    pending, now = erased.pending(connection), datetime.now(timezone.utc)
    with connection.transaction():
        steps = connection.execute(_STEPS).fetchall()
    return {
        MODEL_CHAMPION_INFO: {(champion.version,): 1.0} if champion else {},
        MODEL_CHAMPION_TRAINED: {(): champion.created_at.timestamp()} if champion else {},
        MODEL_OFFLINE_METRIC: {(v.version, name): value for v in newest for name, value in v.metrics.items()},
        ERASURES_PENDING: {(): float(pending.viewers)},
        ERASURE_OLDEST_PENDING: {(): (now - pending.since).total_seconds() if pending.since else 0.0},
        STEP_LAST_STATUS: {(step,): float(status) for step, status, _, _ in steps},
        STEP_LAST_DURATION: {(step,): seconds for step, _, seconds, _ in steps},
        STEP_LAST_SUCCESS: {(step,): at for step, _, _, at in steps if at is not None},
    }


def confidence(connection: Connection[Any]) -> ConfidenceParameters:
    """Return what the champion counts as liked; the default without a champion.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    champion = registry.champion(connection)
    return registry.manifest_of(connection, champion.version).confidence if champion else ConfidenceParameters()


def films(connection: Connection[Any]) -> frozenset[int]:
    """Return the ids of the catalogue's films.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with connection.transaction():
        rows = connection.execute(sql.SQL("SELECT item_id FROM {}").format(sql.Identifier(ITEMS))).fetchall()
    return frozenset(int(item_id) for (item_id,) in rows)

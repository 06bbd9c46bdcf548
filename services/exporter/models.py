"""What PostgreSQL says: which model should be served, how good the newest is, how the nightly run went."""

from typing import Any

from psycopg import Connection, sql

from services.common import registry
from services.contracts.metrics import (
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


def look(connection: Connection[Any]) -> Samples:
    """Return the champion, the newest version's offline metrics, and how each step of the trainer last ended.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    champion = registry.champion(connection)
    newest = registry.versions(connection, limit=1)
    with connection.transaction():
        steps = connection.execute(_STEPS).fetchall()
    return {
        MODEL_CHAMPION_INFO: {(champion.version,): 1.0} if champion else {},
        MODEL_CHAMPION_TRAINED: {(): champion.created_at.timestamp()} if champion else {},
        MODEL_OFFLINE_METRIC: {(v.version, name): value for v in newest for name, value in v.metrics.items()},
        STEP_LAST_STATUS: {(step,): float(status) for step, status, _, _ in steps},
        STEP_LAST_DURATION: {(step,): seconds for step, _, seconds, _ in steps},
        STEP_LAST_SUCCESS: {(step,): at for step, _, _, at in steps if at is not None},
    }


def films(connection: Connection[Any]) -> int:
    """Return the size of the catalogue.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with connection.transaction():
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(ITEMS))).fetchone()
    return int(row[0]) if row else 0

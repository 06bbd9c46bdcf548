"""The log of steps in PostgreSQL, which monitoring reads. Failing to write it never changes a step's outcome.

A step that is killed writes nothing; the DAG, which sees the signal, does it with `note-ended`. Where a step is run by
something else (a Job of Kubernetes, a shell), only the missing row shows it (alert NightlyRunOverdue).
"""

import logging
from datetime import datetime, timezone

import psycopg
from psycopg import sql

from services.common import postgres
from services.common.settings import PostgresSettings, SettingsError
from services.contracts.tables import TRAINER_STEPS

log = logging.getLogger(__name__)

_INSERT = sql.SQL(
    "INSERT INTO {} (run_id, step, exit_status, started_at, finished_at) VALUES (%s, %s, %s, %s, %s)"
).format(sql.Identifier(TRAINER_STEPS))


def note_step(run_id: str, step: str, exit_status: int, started_at: datetime) -> None:
    """Record that a step of a run (or of none: '') ended now; an unavailable database is only logged."""
    try:
        dsn = PostgresSettings.from_environment().postgres_dsn
        with postgres.connect(dsn, autocommit=True) as connection:
            connection.execute(_INSERT, (run_id, step, exit_status, started_at, datetime.now(timezone.utc)))
    except (SettingsError, psycopg.Error) as error:
        log.warning("could not record how the step ended: %s", error, extra={"step": step, "run_id": run_id})

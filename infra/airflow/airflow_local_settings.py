"""What Airflow asks before it makes a run: a run that could not begin, or that carries too much, is refused at once.

Airflow takes a logical date in the future, calls the run running, and starts none of its tasks until that day: it
would hold the only slot of `retrain_nightly` for hours. Refused here, the API answers 400 with the reason, the command
line ends with it, and there is no run. Every part of Airflow imports this module by its name, which is Airflow's.
"""

import json
from datetime import datetime, timezone
from typing import Any

MAX_CONF_BYTES = 10_000
"""A run's parameters travel with each of its tasks."""

MAX_RUN_ID = 200
"""It names folders of logs; and PostgreSQL takes 250."""


def task_instance_mutation_hook(task_instance: Any, dag_run: Any = None) -> None:
    """Refuse the run of a task that Airflow is about to note down.

    Raises:
        ValueError: saying what is wrong with the run.
    """
    if dag_run is not None:
        refuse(dag_run.run_id, dag_run.logical_date, dag_run.conf, datetime.now(timezone.utc))


def refuse(run_id: str, logical_date: datetime | None, conf: Any, now: datetime) -> None:
    """Raise a ValueError for a run that may not be."""
    if len(run_id) > MAX_RUN_ID:
        raise ValueError(f"the run id has {len(run_id)} characters, {MAX_RUN_ID} are allowed")
    if logical_date is not None and logical_date > now:
        raise ValueError(
            f"the logical date {logical_date.isoformat()} is in the future, the run could not begin before:"
            " leave it out, or state the time from which on the run may begin as run_after"
        )
    size = len(json.dumps(conf or {}, default=str))
    if size > MAX_CONF_BYTES:
        raise ValueError(f"the run's parameters take {size} bytes, {MAX_CONF_BYTES} are allowed")

"""Runs inside Airflow's environment: prints, as JSON, what Airflow makes of the DAG folder given as argument."""

import json
import sys
from datetime import datetime
from typing import Any
from unittest.mock import patch

from airflow.dag_processing.dagbag import DagBag  # type: ignore[import-not-found, unused-ignore]
from airflow.serialization.encoders import (  # type: ignore[import-not-found, unused-ignore]
    coerce_to_core_timetable,
)
from airflow.timetables.base import TimeRestriction  # type: ignore[import-not-found, unused-ignore]

DEPLOYMENTS = ("2026-11-21T04:24:00+00:00", "2026-11-21T12:00:00+00:00")


def first_run(dag: Any, now: str) -> str:
    """When the schedule runs a DAG that is new to Airflow at the time `now`."""
    timetable = coerce_to_core_timetable(dag.timetable)
    with patch("airflow.timetables.trigger.utcnow", return_value=datetime.fromisoformat(now)):
        info = timetable.next_dagrun_info(
            last_automated_data_interval=None,
            restriction=TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup),
        )
    return str(info.run_after.isoformat())


def main(folder: str) -> None:
    bag = DagBag(folder)
    described = {
        dag_id: {
            "schedule": dag.timetable.expression,
            "timezone": str(dag.timetable.timezone),
            "catchup": dag.catchup,
            "first_run_after_a_deployment_at": {now: first_run(dag, now) for now in DEPLOYMENTS},
            "max_active_runs": dag.max_active_runs,
            "dagrun_timeout": dag.dagrun_timeout.total_seconds(),
            "doc": dag.doc_md,
            "tags": sorted(dag.tags),
            "tasks": {
                task.task_id: {
                    "downstream": sorted(task.downstream_task_ids),
                    "owner": task.owner,
                    "retries": task.retries,
                    "backoff": task.retry_exponential_backoff,
                    "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                    "doc": task.doc_md,
                }
                for task in dag.tasks
            },
        }
        for dag_id, dag in bag.dags.items()
    }
    print(json.dumps({"import_errors": bag.import_errors, "dags": described}))


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    main(sys.argv[1])

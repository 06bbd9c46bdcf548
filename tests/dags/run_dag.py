"""Runs inside Airflow's environment: runs the DAG once in this process, retries at once, notes the tasks' states."""

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag  # type: ignore[import-not-found, unused-ignore]


def main(folder: str, dag_id: str, result: str, conf: str, timeout_seconds: str = "") -> None:
    sys.path.insert(0, folder)  # as Airflow's own processes do
    dag = DagBag(folder).dags[dag_id]
    for task in dag.tasks:
        task.retry_delay = timedelta(seconds=0)
        task.retry_exponential_backoff = 0
        if timeout_seconds:
            task.execution_timeout = timedelta(seconds=float(timeout_seconds))
            task.retries = 0
    run = dag.test(logical_date=datetime(2026, 11, 21, 3, tzinfo=timezone.utc), run_conf=json.loads(conf))
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    Path(result).write_text(json.dumps({"run_id": run.run_id, "state": str(run.state), "tasks": states}))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs inside Airflow's environment: prints, as JSON, what Airflow makes of the DAG folder given as argument."""

import json
import sys

from airflow.dag_processing.dagbag import DagBag  # type: ignore[import-not-found, unused-ignore]


def main(folder: str) -> None:
    bag = DagBag(folder)
    described = {
        dag_id: {
            "schedule": dag.timetable.expression,
            "timezone": str(dag.timetable.timezone),
            "catchup": dag.catchup,
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

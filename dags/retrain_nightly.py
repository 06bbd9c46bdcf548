"""Retrain every night; the service loads the model if the gate accepts it.

| task | what it does | when it fails |
|---|---|---|
| `import_files` | files of ratings that have landed → events | store away: retried; **bad files: red at once** |
| `forget_files` | erased viewers leave landed files | retried; the night goes on |
| `forget` | erased viewers leave bundles and folders of runs | retried; the night goes on |
| `prune` | old bundles and folders of runs are deleted, not those in use | retried; the night goes on |
| `check_data` | stores answer, enough signals, the audit has no gap | retried; too little data: red at once |
| `extract` | signals → arrays of this run | retried; a complete extract is kept |
| `train` | iALS and popularity | retried |
| `evaluate` | time split, full catalogue, beside popularity and the champion | retried |
| `publish` | bundle, and a candidate in the registry | retried; a published bundle is kept |
| `promote` | the gate, then one transaction and a notification | **refused: red at once, no retries** |
| `verify` | every replica serves the version that was promoted, of which it was notified | retried |

The first two are the importer's command line (`$IMPORTER_COMMAND <step>`), all others the trainer's
(`$TRAINER_COMMAND <step> --run-id <this run>`), and safe to run again: clear any task to repeat it.

**Failing to tidy up does not keep the models from being trained**: `forget_files`, `forget`, `prune` and `check_data`
follow whatever became of the task before, and the run may be green with one of them red. They come first so that they
are done however the run ends. Refused files are in `failed/`, each with a report of its bad lines; mend them and
let them land again.

**A refused gate fails the run on purpose**: `verify` does not run, the old model goes on serving, and
somebody should look at the metrics in the log of `promote`. To promote all the same, trigger the DAG
with `force` ticked.

Environment: `IMPORTER_COMMAND`, `TRAINER_COMMAND`, `INFERENCE_URL` (replicas, comma-separated), and what the two need
(stores, `MODEL_DIR`, `RUNS_DIR`, `LANDING_DIR`).
"""

from datetime import timedelta

from _inference import verify_replicas
from _steps import IMPORTER_COMMAND, StepOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, chain, task

with DAG(
    dag_id="retrain_nightly",
    description="Retrain from ClickHouse, promote if good, hot-reload the inference service.",
    doc_md=__doc__,
    # No start date, and a small margin: a new deployment waits for the night instead of running last night's at once.
    schedule=CronTriggerTimetable("0 3 * * *", timezone="UTC", run_immediately=timedelta(minutes=15)),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    default_args={
        "owner": "movierecs",
        "retries": 3,
        "retry_delay": timedelta(seconds=30),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=15),
    },
    params={"force": Param(False, type="boolean", description="Promote even when the gate refuses.")},
    tags=["training", "movierecs"],
) as dag:
    import_files = StepOperator(
        task_id="import_files",
        program=IMPORTER_COMMAND,
        step="import-files",
        of_run=False,
        execution_timeout=timedelta(hours=1),
        doc_md="Files of ratings: landing → incoming → processed or failed. Red when one is refused.",
    )
    forget_files = StepOperator(
        task_id="forget_files",
        program=IMPORTER_COMMAND,
        step="forget-files",
        of_run=False,
        # Erasures requested before this run are completed in it, whatever else fails.
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(hours=1),
        doc_md="Erased viewers: landed files are rewritten without their lines.",
    )
    forget = StepOperator(
        task_id="forget",
        step="forget",
        of_run=False,
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(hours=1),
        doc_md="Erased viewers: bundles are replaced by copies without them, folders of runs deleted.",
    )
    prune = StepOperator(
        task_id="prune",
        step="prune",
        of_run=False,
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(minutes=10),
        doc_md="Bundles of old models and folders of ended runs, beyond the newest few, and what crashed writers left.",
    )
    check_data = StepOperator(
        task_id="check_data",
        step="check",
        # One bad file must not cost the night's models.
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(minutes=10),
        doc_md="Stores answer, there are enough signals, and the audit shows no gap.",
    )
    extract = StepOperator(
        task_id="extract",
        step="extract",
        execution_timeout=timedelta(hours=1),
        doc_md="Signals from ClickHouse, with the Kafka offsets up to which they are complete.",
    )
    train = StepOperator(
        task_id="train",
        step="train",
        execution_timeout=timedelta(hours=3),
        doc_md="iALS factors and popularity (overall and recent).",
    )
    evaluate = StepOperator(
        task_id="evaluate",
        step="evaluate",
        execution_timeout=timedelta(hours=2),
        doc_md="Time split, full catalogue; beside popularity and the champion on the same split.",
    )
    publish = StepOperator(
        task_id="publish",
        step="publish",
        execution_timeout=timedelta(minutes=30),
        doc_md="The bundle under its final name, and a candidate in the registry.",
    )
    promote = StepOperator(
        task_id="promote",
        step="promote",
        force_param="force",
        execution_timeout=timedelta(minutes=5),
        doc_md="The gate. Returns the promoted version. A refusal fails at once: look at the metrics in the log.",
    )

    @task(
        task_id="verify",
        execution_timeout=timedelta(minutes=5),
        doc_md="`GET /v1/models/current` of every replica is the promoted version.",
    )
    def verify(version: str | None) -> None:
        verify_replicas(version)

    chain(
        import_files, forget_files, forget, prune,
        check_data, extract, train, evaluate, publish, promote, verify(promote.output),
    )  # fmt: skip

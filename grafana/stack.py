"""Dashboard 6: does the nightly run work, is everything up, and what fires?"""

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.dashboard import Panel as AnyPanel
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import process
from grafana.layout import compose, line, numbers, section
from grafana.panels import alert_list, bad_below, bad_from, chart, columns, listing, number
from grafana.queries import now, now_as_table, over_time
from grafana.variables import service
from services.contracts import metrics as m

CHOSEN = 'job=~"$service"'
HOUR = 3_600
LAST_STEP = "promote"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-stack",
        "6 Airflow and stack",
        "Does the nightly run work, is everything up, and what fires?",
        section(
            "Is everything up?",
            numbers(alerts_now(), targets_down(), dependencies_down(), nightly_age()),
            line(alerts(), targets(), dependencies()),
        ),
        section(
            "The nightly run",
            line(steps(), step_ages()),
            line(task_durations(), runs()),
            line(erasures(), erasures_wait()),
        ),
        section("Airflow", line(heartbeats(), import_errors(), pool()), line(scheduler_loop(), executor())),
        section("The exporter", line(parts_age(), parts_time())),
        section("The processes", line(process.cpu(CHOSEN), process.memory(CHOSEN))),
        variables=(service(),),
    )


def alerts_now() -> stat.Panel:
    return number(
        "How many alerts fire?",
        "Normally 0. The list below names them; the runbook has a section for each.",
        units.Short,
        now('count (ALERTS{alertstate="firing"}) or vector(0)'),
        limits=bad_from(1),
    )


def targets_down() -> stat.Panel:
    return number(
        "How many targets are down?",
        "Processes whose last scrape failed.",
        units.Short,
        now("count (up) - sum (up)"),
        limits=bad_from(1),
    )


def dependencies_down() -> stat.Panel:
    return number(
        "How many stores cannot be reached?",
        "Kafka, ClickHouse and PostgreSQL, as the exporter finds them.",
        units.Short,
        now(f"count ({m.DEPENDENCY_UP.name}) - sum ({m.DEPENDENCY_UP.name})"),
        limits=bad_from(1),
    )


def nightly_age() -> stat.Panel:
    return number(
        "When did the nightly run last complete?",
        "Time since the step `promote` last succeeded.",
        units.Seconds,
        now(f'time() - max ({m.STEP_LAST_SUCCESS.name}{{step="{LAST_STEP}"}})'),
        limits=bad_from(26 * HOUR),
    )


def alerts() -> AnyPanel:
    return alert_list(
        "Which alerts fire or are about to?",
        "From Prometheus's rules. A click shows the labels and the link to the runbook.",
    )


def targets() -> timeseries.Panel:
    return chart(
        "What is up?",
        "Replicas whose last scrape succeeded, by service.",
        units.Short,
        over_time(f"sum by (job) (up{{{CHOSEN}}})", "{{job}}"),
    )


def dependencies() -> timeseries.Panel:
    return chart(
        "Which stores can be reached?",
        "1: the exporter's last read succeeded.",
        units.Short,
        over_time(f"min by (dependency) ({m.DEPENDENCY_UP.name})", "{{dependency}}"),
        limits=bad_below(1),
    )


def steps() -> table.Panel:
    panel = listing(
        "What was the last outcome of each step?",
        "As recorded in PostgreSQL. Status 0 is success; 5 of import-files: a file was refused, and the "
        "run continued without it.",
        now_as_table(f"max by (step) ({m.STEP_LAST_STATUS.name})"),
        now_as_table(f"max by (step) ({m.STEP_LAST_DURATION.name})"),
        now_as_table(f"1000 * max by (step) ({m.STEP_LAST_SUCCESS.name})"),
        units={"Took": units.Seconds, "Last success": units.DateTimeFromNow},
    )
    names = {"step": "Step", "Value #A": "Exit status", "Value #B": "Took", "Value #C": "Last success"}
    return columns(panel, names)


def step_ages() -> timeseries.Panel:
    return chart(
        "How long ago did each step succeed?",
        "Falls to 0 every night; a line that keeps rising is a step that fails or is not reached.",
        units.Seconds,
        over_time(f"time() - max by (step) ({m.STEP_LAST_SUCCESS.name})", "{{step}}"),
        limits=bad_from(26 * HOUR),
    )


def task_durations() -> timeseries.Panel:
    return chart(
        "How long does each task take?",
        "Mean of all attempts that Airflow has reported since the StatsD exporter's start.",
        units.Seconds,
        over_time(
            "sum by (dag_id, task_id) (airflow_task_duration_seconds_sum)"
            " / sum by (dag_id, task_id) (airflow_task_duration_seconds_count)",
            "{{dag_id}} {{task_id}}",
        ),
    )


def runs() -> timeseries.Panel:
    return chart(
        "What were the outcomes of DAG runs?",
        "Runs since the StatsD exporter's start, by DAG and state.",
        units.Short,
        over_time("sum by (dag_id, state) (airflow_dag_run_duration_seconds_count)", "{{dag_id}} {{state}}"),
    )


def erasures() -> timeseries.Panel:
    return chart(
        "How many erased viewers are still on disk?",
        "In models, run folders or landed files; no list uses their data. Falls to 0 every night.",
        units.Short,
        over_time(f"max ({m.ERASURES_PENDING.name})", "viewers"),
    )


def erasures_wait() -> timeseries.Panel:
    return chart(
        "How old is the oldest pending erasure?",
        "Since the request. Above a day and a half ErasurePending fires; 0 if none is pending.",
        units.Seconds,
        over_time(f"max ({m.ERASURE_OLDEST_PENDING.name})", "oldest"),
        limits=bad_from(36 * HOUR),
    )


def heartbeats() -> timeseries.Panel:
    return chart(
        "Are Airflow's processes alive?",
        "Heartbeats per second of the scheduler, the DAG processor and the triggerer.",
        units.Short,
        over_time("sum (rate(airflow_scheduler_heartbeat_total[$__rate_interval]))", "scheduler"),
        over_time("sum (rate(airflow_dag_processor_heartbeat_total[$__rate_interval]))", "DAG processor"),
        over_time("sum (rate(airflow_triggerer_heartbeat_total[$__rate_interval]))", "triggerer"),
    )


def import_errors() -> timeseries.Panel:
    return chart(
        "Are the DAG files valid?",
        "Files that cannot be imported, and DAGs that were found.",
        units.Short,
        over_time("max (airflow_dag_processing_import_errors)", "files with errors"),
        over_time("max (airflow_dags)", "DAGs"),
    )


def pool() -> timeseries.Panel:
    return chart(
        "How are the pool's slots used?",
        "Slots by state. Scheduled tasks together with open slots suggest that the scheduler is stuck.",
        units.Short,
        over_time("max by (pool_name, state) (airflow_pool_slots)", "{{pool_name}} {{state}}"),
        stacked=True,
    )


def scheduler_loop() -> timeseries.Panel:
    return chart(
        "How long does the scheduler loop take?",
        "The mean since the StatsD exporter's start. Seconds mean that tasks start late.",
        units.Seconds,
        over_time(
            "sum (airflow_scheduler_loop_duration_seconds_sum) / sum (airflow_scheduler_loop_duration_seconds_count)",
            "mean",
        ),
    )


def executor() -> timeseries.Panel:
    return chart(
        "What does the executor do?",
        "Open slots, and tasks that are queued or running.",
        units.Short,
        over_time("max by (status) (airflow_executor_slots)", "{{status}}"),
    )


def parts_age() -> timeseries.Panel:
    return chart(
        "How old are the exporter's numbers?",
        "Time since each part was last collected without an error.",
        units.Seconds,
        over_time(f"time() - max by (part) ({m.EXPORTER_LAST_SUCCESS.name})", "{{part}}"),
        limits=bad_from(900),
    )


def parts_time() -> timeseries.Panel:
    return chart(
        "What do the exporter's numbers cost?",
        "Time of each part's last collection.",
        units.Seconds,
        over_time(f"max by (part) ({m.EXPORTER_COLLECT_SECONDS.name})", "{{part}}"),
    )

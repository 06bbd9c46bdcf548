"""Dashboard 2: the program that writes Kafka's records to ClickHouse."""

from grafana_foundation_sdk.builders import logs, stat, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana import process
from grafana.layout import compose, line, numbers, section
from grafana.panels import bad_below, bad_from, chart, log_lines, number, with_logs
from grafana.queries import log_query, mean_of, now, over_time, quantile_of, rate_of
from grafana.variables import replica
from services.contracts import metrics as m

MINE = 'instance=~"$replica"'
MINE_JOB = f'job="consumer", {MINE}'


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-consumer",
        "2 Consumer",
        "Does the consumer keep up, and what do its inserts, its group and its memory do?",
        section(
            "Does it keep up?",
            numbers(replicas(), lag_now(), written_now(), retries_now()),
            line(consumed(), written(), lag()),
        ),
        section("Writing to ClickHouse", line(insert_time(), block_rows()), line(retries(), commit_failures())),
        section("The group and the processes", line(rebalances(), process.cpu(MINE_JOB), process.memory(MINE_JOB))),
        section("What does it log?", line(warnings(), height=10)),
        variables=(replica("consumer"),),
    )


def replicas() -> stat.Panel:
    return number(
        "How many consumers are up?",
        "Replicas whose last scrape succeeded.",
        units.Short,
        now('sum (up{job="consumer"})'),
        limits=bad_below(1),
    )


def lag_now() -> stat.Panel:
    return number(
        "How many records wait?",
        "Over all partitions of both topics, of all replicas.",
        units.Short,
        now("sum (topic:ingest_consumer_lag_messages:sum)"),
        limits=bad_from(100_000, 10_000),
    )


def written_now() -> stat.Panel:
    return number(
        "Rows written in the time shown",
        "Rows acknowledged by ClickHouse; a redelivered record counts again, though it is stored once.",
        units.Short,
        now(f"sum (increase({m.INGEST_ROWS_WRITTEN.name}{{{MINE}}}[$__range]))"),
    )


def retries_now() -> stat.Panel:
    return number(
        "Inserts sent again in the time shown",
        "A retry costs time, not data: the insert is repeated under the same token.",
        units.Short,
        now(f"sum (increase({m.INGEST_INSERT_RETRIES.name}{{{MINE}}}[$__range])) or vector(0)"),
        limits=bad_from(100, 1),
    )


def consumed() -> timeseries.Panel:
    return chart(
        "How many records are read from Kafka?",
        "Records polled, by topic.",
        units.EventsPerSecond,
        over_time(rate_of(m.INGEST_RECORDS_CONSUMED, by="topic", where=MINE), "{{topic}}"),
    )


def written() -> timeseries.Panel:
    panel = chart(
        "How many rows are written to ClickHouse?",
        "Rows acknowledged by ClickHouse, by topic. If lower than the records read: quarantined, or writing is slow.",
        units.RowsPerSecond,
        over_time(rate_of(m.INGEST_ROWS_WRITTEN, by="topic", where=MINE), "{{topic}}"),
    )
    return with_logs(panel, "consumer")


def lag() -> timeseries.Panel:
    return chart(
        "How far is each partition behind?",
        "Records between the committed offset and the head, whoever owns the partition.",
        units.Short,
        over_time("topic_partition:ingest_consumer_lag_messages:max", "{{topic}} {{partition}}"),
    )


def insert_time() -> timeseries.Panel:
    return chart(
        "How long does an insert take?",
        "Until ClickHouse acknowledged it as on disk: median and 99th percentile by table.",
        units.Seconds,
        over_time(quantile_of(0.5, m.INGEST_INSERT_SECONDS, by="table", where=MINE), "median, {{table}}"),
        over_time(quantile_of(0.99, m.INGEST_INSERT_SECONDS, by="table", where=MINE), "99 %, {{table}}"),
    )


def block_rows() -> timeseries.Panel:
    return chart(
        "How many rows does a block have?",
        "The mean by topic. Small blocks at a high rate make many parts in ClickHouse.",
        units.Short,
        over_time(mean_of(m.INGEST_BLOCK_ROWS, by="topic", where=MINE), "{{topic}}"),
    )


def retries() -> timeseries.Panel:
    return chart(
        "Which errors made it send an insert again?",
        "By error code of ClickHouse or of the transport; normally 0.",
        units.EventsPerSecond,
        over_time(f"{rate_of(m.INGEST_INSERT_RETRIES, by='code', where=MINE)} or vector(0)", "{{code}}"),
    )


def commit_failures() -> timeseries.Panel:
    return chart(
        "Do commits of offsets fail?",
        "A failed commit means redelivery, not loss: the rows are written again and stored once.",
        units.EventsPerSecond,
        over_time(rate_of(m.INGEST_COMMIT_FAILURES, where=MINE), "failed commits"),
    )


def rebalances() -> timeseries.Panel:
    return chart(
        "How often did partitions change hands?",
        "Since each replica's start, by kind. `lost`: the broker reassigned them before they were released.",
        units.Short,
        over_time(f"sum by (kind) ({m.INGEST_REBALANCES.name}{{{MINE}}})", "{{kind}}"),
    )


def warnings() -> logs.Panel:
    return log_lines(
        "Warnings and errors of the consumer",
        "Newest first. A line's trace id links to everything that was logged about the same request.",
        log_query('{service="consumer", level=~"warning|error|critical"}'),
    )

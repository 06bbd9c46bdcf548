"""Dashboard 1: everything produced is stored or quarantined soon, and nothing is missing."""

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import compose, line, numbers, section
from grafana.panels import bad_below, bad_from, chart, listing, number, with_logs
from grafana.queries import Sql, now, over_time, rate_of, worst_of
from grafana.sources import CLICKHOUSE
from services.contracts import metrics as m
from services.contracts import tables
from services.contracts.topics import EVENTS_TOPIC

DAY = 86_400


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-truth",
        "1 Truth",
        "Is every produced event soon stored or quarantined, without a gap?",
        section(
            "Nothing is lost",
            numbers(missing_offsets(), audit_age(), records_waiting(), newest_event(), retention_left(), set_aside()),
            line(produced_and_stored(), stored_rows()),
            line(last_audits()),
        ),
        section("It is stored soon", line(lag(), freshness(), retention())),
        section(
            "Quarantined records, and unknown films",
            line(quarantined(), quarantined_share(), unknown_films()),
            line(latest_quarantined()),
        ),
    )


def missing_offsets() -> stat.Panel:
    return number(
        "Committed offsets that ClickHouse does not hold",
        "Found by the audit, over all partitions. Above 0 is a loss: IngestOffsetGap in the runbook.",
        units.Short,
        now(f"sum ({worst_of(m.INGEST_AUDIT_MISSING)})"),
        limits=bad_from(1),
    )


def audit_age() -> stat.Panel:
    return number(
        "How old is the last audit?",
        "Time since the older of the topics' last audits. Without audits the number beside it proves nothing.",
        units.Seconds,
        now(f"max (time() - {worst_of(m.INGEST_AUDIT_LAST, 'topic')})"),
        limits=bad_from(600),
    )


def records_waiting() -> stat.Panel:
    return number(
        "How many records wait in Kafka?",
        "Records between the committed offset and the head, over all partitions. It comes down again after a burst.",
        units.Short,
        now("sum (topic:ingest_consumer_lag_messages:sum)"),
        limits=bad_from(100_000, 10_000),
    )


def newest_event() -> stat.Panel:
    return number(
        "How old is the newest stored event?",
        "Age of the last committed record of events, by Kafka's time. It also grows without new events: bad only "
        "when records wait.",
        units.Seconds,
        now(f'time() - max (topic:ingest_last_committed_event_timestamp_seconds:max{{topic="{EVENTS_TOPIC}"}})'),
    )


def retention_left() -> stat.Panel:
    return number(
        "How long until Kafka deletes what is not stored?",
        "The smallest headroom of all topics: at 0 Kafka's retention deletes unconsumed records.",
        units.Seconds,
        now("min (topic:ingest_retention_headroom_seconds:min)"),
        limits=bad_below(2 * DAY, DAY),
    )


def set_aside() -> stat.Panel:
    return number(
        "Records quarantined in the time shown",
        "Invalid records, kept byte for byte with the reason; they can be replayed after a fix.",
        units.Short,
        now(f"sum (increase({m.INGEST_QUARANTINED.name}[$__range]))"),
    )


def produced_and_stored() -> timeseries.Panel:
    stored = rate_of(m.INGEST_ROWS_WRITTEN, where=f'topic="{EVENTS_TOPIC}"')
    erased = f"(sum (rate({m.INGEST_ERASED.name}[$__rate_interval])) or vector(0))"
    panel = chart(
        "Is everything produced also stored or quarantined?",
        "The lines coincide, a few seconds apart. Redelivered records are written and counted twice, but stored "
        "once. Records sent to Kafka without the API show as stored only.",
        units.EventsPerSecond,
        over_time(rate_of(m.EVENTS_PRODUCED, where='outcome="acknowledged"'), "produced by the API"),
        over_time(f"{stored} + {rate_of(m.INGEST_QUARANTINED)} + {erased}", "stored, quarantined or erased"),
        over_time(stored, "stored"),
    )
    return with_logs(panel, "consumer")


def stored_rows() -> timeseries.Panel:
    return chart(
        "What does ClickHouse hold, by Kafka's time?",
        "Records by the time at which Kafka took them, read from the tables themselves: an independent count.",
        units.Short,
        Sql(
            f"""
            SELECT $__timeInterval(record_time) AS time, holds, uniqExact(epoch, partition, offset) AS records
            FROM (
                SELECT record_time, epoch, partition, offset, 'stored' AS holds FROM {tables.EVENTS}
                WHERE $__timeFilter(record_time) AND epoch != {tables.FILES_EPOCH}
                UNION ALL
                SELECT record_time, epoch, partition, offset, 'set aside' AS holds FROM {tables.EVENTS_QUARANTINE}
                WHERE $__timeFilter(record_time) AND topic = '{EVENTS_TOPIC}'
            )
            GROUP BY time, holds ORDER BY time
            """,
            series=True,
        ),
        source=CLICKHOUSE,
        stacked=True,
    )


def last_audits() -> table.Panel:
    return listing(
        "What did each partition's last audit find?",
        "The audit compares every committed offset with the tables. A full audit begins at the first offset, a tail "
        "audit where the one before ended. Checked = committed offset less the offset it began at.",
        Sql(
            f"""
            SELECT topic, partition, scope, audited_at AS audited, from_offset, committed,
                committed - from_offset AS checked, missing
            FROM {tables.AUDIT_LEDGER} WHERE audited_at >= now() - INTERVAL 7 DAY
            ORDER BY audited_at DESC LIMIT 1 BY topic, partition
            """
        ),
        source=CLICKHOUSE,
    )


def lag() -> timeseries.Panel:
    return chart(
        "How far is each partition behind?",
        "Records between the committed offset and the head. If a single partition lags, look at its owner.",
        units.Short,
        over_time("topic_partition:ingest_consumer_lag_messages:max", "{{topic}} {{partition}}"),
    )


def freshness() -> timeseries.Panel:
    return chart(
        "How old is the newest stored record?",
        "Time since the last committed record's time in Kafka. It grows while nothing is produced; the alert also "
        "requires waiting records.",
        units.Seconds,
        over_time("time() - topic:ingest_last_committed_event_timestamp_seconds:max", "{{topic}}"),
        limits=bad_from(120),
    )


def retention() -> timeseries.Panel:
    return chart(
        "How much time does Kafka's retention leave?",
        "Retention minus the age of the oldest record that is not stored yet; at 0 records are lost.",
        units.Seconds,
        over_time("topic:ingest_retention_headroom_seconds:min", "{{topic}}"),
        limits=bad_below(2 * DAY, DAY),
    )


def quarantined() -> timeseries.Panel:
    return chart(
        "Why are records quarantined?",
        "By reason. A sudden rise of one reason suggests that a producer has changed.",
        units.EventsPerSecond,
        over_time(rate_of(m.INGEST_QUARANTINED, by="reason"), "{{reason}}"),
        stacked=True,
    )


def quarantined_share() -> timeseries.Panel:
    return chart(
        "Which share of the records is quarantined?",
        "Over 15 minutes. Above 1 % it is an alert: IngestPoison.",
        units.PercentUnit,
        over_time("ingest:quarantined:ratio_rate15m", "set aside"),
        limits=bad_from(0.01),
    )


def latest_quarantined() -> table.Panel:
    return listing(
        "The latest quarantined records",
        "Their place in Kafka and what is wrong with them. Their content is not shown: it may be personal data.",
        Sql(
            f"""
            SELECT record_time, topic, partition, offset, reason, detail, replayed
            FROM {tables.QUARANTINE_VIEW} WHERE $__timeFilter(record_time)
            ORDER BY record_time DESC LIMIT 50
            """
        ),
        source=CLICKHOUSE,
    )


def unknown_films() -> timeseries.Panel:
    return chart(
        "How many stored signals are for films not in the catalogue?",
        "They are kept, but no list shows such films. The API refuses them, so they came from other producers, or "
        "the films were removed from the catalogue.",
        units.Short,
        over_time(f"max ({m.INGEST_UNKNOWN_FILMS.name})", "signals"),
    )

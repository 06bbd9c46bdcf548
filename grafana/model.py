"""Dashboard 4: which replica serves which model, how old and how good it is, and whether reloads work."""

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import compose, line, numbers, section
from grafana.panels import bad_from, chart, columns, listing, number, with_logs
from grafana.queries import now, now_as_table, over_time
from grafana.variables import model_version, replica
from services.contracts import metrics as m

HOUR = 3_600
DECISIVE = ".+_ndcg"
"""The metric by which a model is promoted; the names are those of the model and its baselines before it."""
MINE = 'instance=~"$replica"'


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-model",
        "4 Model",
        "Which replica serves which model, how old and how good is it, and do reloads work?",
        section(
            "What is served?",
            numbers(versions_served(), champion_age(), failed_reloads(), unlike_the_champion()),
            line(replicas_and_versions(), champion()),
            line(versions_over_time(), age()),
        ),
        section("Do reloads work?", line(reloads(), swaps())),
        section(
            "How good is it offline?",
            line(offline_of_the_served(), offline_of_the_latest(), variety_of_the_latest()),
            line(latest()),
        ),
        variables=(replica("inference"), model_version()),
    )


def versions_served() -> stat.Panel:
    return number(
        "How many versions are served at once?",
        "1, except for the seconds of a reload. More for five minutes is an alert.",
        units.Short,
        now(f"count (count by (version) ({m.MODEL_INFO.name} == 1))"),
        limits=bad_from(2),
    )


def champion_age() -> stat.Panel:
    return number(
        "How old is the registry's champion?",
        "Time since training. Above 36 hours the nightly run has failed, or the gate refused its models.",
        units.Seconds,
        now(f"time() - max ({m.MODEL_CHAMPION_TRAINED.name})"),
        limits=bad_from(36 * HOUR, 30 * HOUR),
    )


def failed_reloads() -> stat.Panel:
    return number(
        "Failed reloads in the time shown",
        "Failed or refused, of all replicas. The previous model is still served.",
        units.Short,
        now(f'sum (increase({m.MODEL_RELOADS.name}{{outcome=~"failed|refused"}}[$__range]))'),
        limits=bad_from(1),
    )


def unlike_the_champion() -> stat.Panel:
    return number(
        "How many replicas do not serve the champion?",
        "0, except for the seconds between promotion and reload, or if an operator loaded another version.",
        units.Short,
        now(
            f"count ({m.MODEL_INFO.name} == 1)"
            f" - (count (({m.MODEL_INFO.name} == 1) and on (version) ({m.MODEL_CHAMPION_INFO.name} == 1)) or vector(0))"
        ),
        limits=bad_from(1),
    )


def replicas_and_versions() -> table.Panel:
    panel = listing(
        "Which replica serves which version?",
        "One row per replica: the version, its stage in the registry, and when it was made.",
        now_as_table(f'sum by (instance, version, stage) ({m.MODEL_INFO.name}{{{MINE}, version=~"$version"}} == 1)'),
        now_as_table(f"1000 * max by (instance) ({m.MODEL_TRAINED_TIMESTAMP.name}{{{MINE}}})"),
        units={"Made": units.DatetimeISO},
    )
    names = {"instance": "Replica", "version": "Version", "stage": "Stage", "Value #B": "Made"}
    return columns(panel, names, "Value #A")


def champion() -> table.Panel:
    panel = listing(
        "Which version is the registry's champion?",
        "What replicas should serve, as the exporter reads it from PostgreSQL.",
        now_as_table(f"sum by (version) ({m.MODEL_CHAMPION_INFO.name} == 1)"),
    )
    return columns(panel, {"version": "Version"}, "Value")


def versions_over_time() -> timeseries.Panel:
    return chart(
        "How many replicas serve each version?",
        "A promotion shows as one version giving way to the next within a minute.",
        units.Short,
        over_time(f'sum by (version, stage) ({m.MODEL_INFO.name}{{version=~"$version"}})', "{{version}} {{stage}}"),
        stacked=True,
    )


def age() -> timeseries.Panel:
    return chart(
        "How old is the model that each replica serves?",
        "Time since training. Drops to near 0 every night.",
        units.Seconds,
        over_time(f"time() - {m.MODEL_TRAINED_TIMESTAMP.name}{{{MINE}}}", "{{instance}}"),
        limits=bad_from(36 * HOUR),
    )


def reloads() -> timeseries.Panel:
    panel = chart(
        "What were the outcomes of reloads?",
        "Since each replica's start, by outcome: swapped, unchanged (it was served already), refused (the bundle is "
        "broken), failed.",
        units.Short,
        over_time(f"sum by (outcome) ({m.MODEL_RELOADS.name}{{{MINE}}})", "{{outcome}}"),
    )
    return with_logs(panel, "inference")


def swaps() -> timeseries.Panel:
    return chart(
        "When did replicas swap models?",
        "Swaps by replica within each step: all replicas swap together.",
        units.Short,
        over_time(
            f'sum by (instance) (increase({m.MODEL_RELOADS.name}{{outcome="swapped", {MINE}}}[$__rate_interval]))',
            "{{instance}}",
        ),
    )


def offline_of_the_served() -> timeseries.Panel:
    return chart(
        "How well did the served model rank, against popularity alone?",
        "NDCG of the model and its baselines in the evaluation before its promotion; higher is better.",
        units.Short,
        over_time(
            f'max by (name, split) ({m.MODEL_METRIC.name}{{{MINE}, name=~"{DECISIVE}"}})', "{{name}} ({{split}})"
        ),
    )


def offline_of_the_latest() -> timeseries.Panel:
    return chart(
        "Do the nights' models get better?",
        "NDCG of the registry's newest version, promoted or not, and of its baselines; higher is better.",
        units.Short,
        over_time(f'max by (name) ({m.MODEL_OFFLINE_METRIC.name}{{name=~"{DECISIVE}"}})', "{{name}}"),
    )


def variety_of_the_latest() -> timeseries.Panel:
    return chart(
        "How much of the catalogue do the nights' models use?",
        "Share of all films that the newest version and its baselines recommended to the evaluated viewers.",
        units.PercentUnit,
        over_time(f'max by (name) ({m.MODEL_OFFLINE_METRIC.name}{{name=~".+_coverage"}})', "{{name}}"),
    )


def latest() -> table.Panel:
    panel = listing(
        "The newest version's metrics",
        "All metrics of its evaluation in the registry: the model's and its baselines'.",
        now_as_table(f"max by (version, name) ({m.MODEL_OFFLINE_METRIC.name})"),
    )
    return columns(panel, {"version": "Version", "name": "Metric", "Value": "Value"})

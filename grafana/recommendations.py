"""Dashboard 5: do viewers like what they are shown, and how were the lists made?"""

from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.layout import compose, line, numbers, section
from grafana.panels import LOGS_UID, bad_from, chart, columns, listing, number, with_logs
from grafana.queries import Sql, mean_of, now, now_as_table, over_time, quantile_of, rate_of, share_of
from grafana.sources import CLICKHOUSE
from grafana.variables import model_version
from services.contracts import metrics as m
from services.contracts import tables
from services.contracts.ids import PROBE_USER

CHOSEN = 'model_version=~"$version"'
OF_A_REQUEST = f"/d/{LOGS_UID}?var-request=${{__value.raw}}&${{__url_time_range}}"


def dashboard() -> Dashboard:
    """Return the dashboard."""
    return compose(
        "movierecs-recommendations",
        "5 Recommendations",
        "Do viewers like the lists, and how were they made?",
        section(
            "Do viewers like the lists?",
            numbers(ctr_now(), lists_now(), coverage_now(), novelty_now()),
            line(ctr(), lists_shown()),
            line(by_version_and_variant(), likes_by_place()),
        ),
        section("How varied are they?", line(coverage(), novelty())),
        section("How were they made?", line(strategies(), fallback_share(), strategies_stored())),
        section(
            "How fast does a like count?",
            line(like_to_list(), live_history(), probe_rounds(), history_gap()),
        ),
        section("Are impressions kept?", line(dropped(), latest_lists())),
        variables=(model_version(),),
    )


def ctr_now() -> stat.Panel:
    return number(
        "Which share of the lists got a like?",
        "Lists of the last day with at least one like, all versions, without the probe's. Empty when none was shown.",
        units.PercentUnit,
        now('window:recommender_ctr:ratio{window="1d"}'),
    )


def lists_now() -> stat.Panel:
    return number(
        "How many lists were shown in the last day?",
        "As stored in ClickHouse, without the probe's.",
        units.Short,
        now('window:recommender_lists_shown:sum{window="1d"}'),
    )


def coverage_now() -> stat.Panel:
    return number(
        "How much of the catalogue was shown in the last day?",
        "Share of all films that were in at least one list.",
        units.PercentUnit,
        now(f'max ({m.CATALOGUE_COVERAGE.name}{{window="1d"}})'),
    )


def novelty_now() -> stat.Panel:
    return number(
        "How rare are the films shown in the last day?",
        "Mean self-information in bits: each bit more means films that half as many viewers like.",
        units.Short,
        now(f'max ({m.NOVELTY.name}{{window="1d"}})'),
    )


def ctr() -> timeseries.Panel:
    return chart(
        "Which share of the lists got a like, by model version and variant?",
        "Of the lists of the hour before each point. With few lists it fluctuates: see their number beside it.",
        units.PercentUnit,
        over_time(
            f'max by (model_version, variant) ({m.CTR.name}{{window="1h", {CHOSEN}}})', "{{model_version}} {{variant}}"
        ),
    )


def lists_shown() -> timeseries.Panel:
    return chart(
        "How many lists were shown, by model version and variant?",
        "Within the hour before each point.",
        units.Short,
        over_time(
            f'max by (model_version, variant) ({m.LISTS_SHOWN.name}{{window="1h", {CHOSEN}}})',
            "{{model_version}} {{variant}}",
        ),
        stacked=True,
    )


def by_version_and_variant() -> table.Panel:
    panel = listing(
        "How do versions and variants compare over a week?",
        "Lists shown, lists with a like, and the share, over seven days.",
        now_as_table(f'max by (model_version, variant) ({m.LISTS_SHOWN.name}{{window="7d", {CHOSEN}}})'),
        now_as_table(f'max by (model_version, variant) ({m.LISTS_LIKED.name}{{window="7d", {CHOSEN}}})'),
        now_as_table(f'max by (model_version, variant) ({m.CTR.name}{{window="7d", {CHOSEN}}})'),
        units={"Share": units.PercentUnit},
    )
    names = {
        "model_version": "Version",
        "variant": "Variant",
        "Value #A": "Lists",
        "Value #B": "Liked",
        "Value #C": "Share",
    }
    return columns(panel, names)


def likes_by_place() -> table.Panel:
    return listing(
        "At which place of a list are films liked?",
        "Likes that name the list they answer, by the film's place in it, in the time shown. A good ranking has most "
        "at the top.",
        Sql(
            f"""
            SELECT indexOf(i.item_ids, e.item_id) AS place, count() AS likes, uniqExact(e.request_id) AS lists
            FROM (
                SELECT request_id, user_id, item_id FROM {tables.EVENTS_VIEW}
                WHERE $__timeFilter(record_time) AND action = 'like' AND request_id IS NOT NULL
                    AND user_id != {PROBE_USER}
            ) AS e
            INNER JOIN (
                SELECT toNullable(request_id) AS request_id, user_id, item_ids FROM {tables.IMPRESSIONS_VIEW}
                WHERE $__timeFilter(record_time)
            ) AS i ON e.request_id = i.request_id AND e.user_id = i.user_id
            WHERE place > 0 GROUP BY place ORDER BY place
            """
        ),
        source=CLICKHOUSE,
    )


def coverage() -> timeseries.Panel:
    return chart(
        "Which share of the catalogue is shown?",
        "Within an hour, a day, a week. A drop means that everybody is shown the same films.",
        units.PercentUnit,
        over_time(f"max by (window) ({m.CATALOGUE_COVERAGE.name})", "{{window}}"),
    )


def novelty() -> timeseries.Panel:
    return chart(
        "How rare are the films that are shown?",
        "Mean self-information in bits, within an hour, a day, a week: rarer is higher.",
        units.Short,
        over_time(f"max by (window) ({m.NOVELTY.name})", "{{window}}"),
    )


def strategies() -> timeseries.Panel:
    panel = chart(
        "Which strategies make the lists?",
        "Lists per second, by strategy and variant.",
        units.RequestsPerSecond,
        over_time(rate_of(m.RECOMMENDATIONS_SERVED, by="strategy, variant"), "{{strategy}} {{variant}}"),
        stacked=True,
    )
    return with_logs(panel, "inference")


def fallback_share() -> timeseries.Panel:
    return chart(
        "Which share of the lists is a fallback to popular films?",
        "The viewer likes films, but the model knows none of them. Above 5 % the model is stale or broken.",
        units.PercentUnit,
        over_time(share_of(m.RECOMMENDATIONS_SERVED, 'strategy="popular_fallback"'), "popular_fallback"),
        limits=bad_from(0.05),
    )


def strategies_stored() -> timeseries.Panel:
    return chart(
        "How many stored lists did each strategy make?",
        "Counted in ClickHouse by the time they were served; without the probe's.",
        units.Short,
        Sql(
            f"""
            SELECT $__timeInterval(served_at) AS time, strategy, uniqExact(user_id, request_id) AS lists
            FROM {tables.IMPRESSIONS_VIEW}
            WHERE $__timeFilter(served_at) AND user_id != {PROBE_USER}
            GROUP BY time, strategy ORDER BY time
            """,
            series=True,
        ),
        source=CLICKHOUSE,
        stacked=True,
    )


def like_to_list() -> timeseries.Panel:
    return chart(
        "How long until a like changes the list?",
        "Measured by the probe, from the like until every replica's list has followed: median and 95th percentile.",
        units.Seconds,
        over_time(quantile_of(0.5, m.LIKE_TO_LIST_SECONDS), "median"),
        over_time(quantile_of(0.95, m.LIKE_TO_LIST_SECONDS), "95 %"),
    )


def live_history() -> timeseries.Panel:
    return chart(
        "How long until a replica has applied an event?",
        "From Kafka's timestamp until it is in the viewer's live history: mean and 99th percentile.",
        units.Seconds,
        over_time(mean_of(m.LIVE_HISTORY_LAG), "mean"),
        over_time(quantile_of(0.99, m.LIVE_HISTORY_LAG), "99 %"),
    )


def history_gap() -> timeseries.Panel:
    return chart(
        "Is part of the viewers' history missing?",
        "Records after the model's extract that neither Kafka nor ClickHouse could supply, by replica. It should be 0.",
        units.Short,
        over_time(f"max by (instance) ({m.LIVE_HISTORY_GAP.name})", "{{instance}}"),
    )


def probe_rounds() -> timeseries.Panel:
    return chart(
        "Do the probe's rounds succeed?",
        "Rounds per second by outcome: ok, timeout (a list did not follow), refused, unreachable.",
        units.EventsPerSecond,
        over_time(rate_of(m.PROBE_ROUNDS, by="outcome"), "{{outcome}}"),
    )


def dropped() -> timeseries.Panel:
    return chart(
        "Are impressions or live history records dropped?",
        "Impressions not delivered to Kafka (the list was still served), and records of the topic that could not be "
        "applied to the live history. Both per second.",
        units.EventsPerSecond,
        over_time(rate_of(m.IMPRESSIONS_DROPPED), "impressions dropped"),
        over_time(rate_of(m.LIVE_HISTORY_SKIPPED), "records skipped"),
    )


def latest_lists() -> table.Panel:
    return listing(
        "The latest lists",
        "Without their viewers. The request's id links to its log lines.",
        Sql(
            f"""
            SELECT served_at, toString(request_id) AS request, strategy, variant, model_version,
                length(item_ids) AS films
            FROM {tables.IMPRESSIONS_VIEW}
            WHERE $__timeFilter(served_at) AND user_id != {PROBE_USER}
            ORDER BY served_at DESC LIMIT 50
            """
        ),
        source=CLICKHOUSE,
        links={"request": OF_A_REQUEST},
    )

"""Metrics of the lists, from ClickHouse: lists shown and liked, catalogue coverage, novelty.

A list, and its like, counts once however often its record was stored: it is identified by viewer and request id. The
probe's viewer and erased viewers are left out.
"""

# ruff: noqa: S608 - only our own names and numbers go into the statements
from clickhouse_connect.driver.client import Client

from services.common.positive_sql import positive_sql
from services.contracts.bundle import ConfidenceParameters
from services.contracts.ids import PROBE_USER
from services.contracts.metrics import CATALOGUE_COVERAGE, CTR, LISTS_LIKED, LISTS_SHOWN, NOVELTY
from services.contracts.tables import ERASED_USERS, EVENTS, IMPRESSIONS, SIGNALS_VIEW
from services.exporter.gauges import Labels, Samples

WINDOWS = {"1h": 3600, "1d": 86_400, "7d": 604_800}

_DEFAULT = ConfidenceParameters()
_POSITIVE = "<positive>"
MOST_SERIES = 300
"""Cardinality limit: names of models and variants come from clients, so only the most shown ones are exported."""
_SECONDS = "[" + ", ".join(str(seconds) for seconds in WINDOWS.values()) + "]"
_NAME = {seconds: name for name, seconds in WINDOWS.items()}
# `record_time` is when Kafka took the record: it tells which months to read.
_SHOWN = f"""
    FROM (
        SELECT user_id, request_id, item_ids, model_version, variant, served_at FROM {IMPRESSIONS}
        WHERE record_time >= now() - INTERVAL 8 DAY AND served_at >= now() - INTERVAL 7 DAY
          AND user_id != {PROBE_USER} AND user_id NOT IN (SELECT user_id FROM {ERASED_USERS})
        ORDER BY epoch, partition, offset
        LIMIT 1 BY user_id, request_id
    ) AS lists
    ARRAY JOIN {_SECONDS} AS seconds
    WHERE served_at >= now() - toIntervalSecond(seconds)
"""
_LIKED = f"""
    SELECT user_id, request_id FROM {EVENTS}
    WHERE record_time >= now() - INTERVAL 8 DAY AND action = 'like' AND request_id IS NOT NULL
"""
_LISTS = f"""
    SELECT model_version, variant, seconds, count(), countIf((user_id, request_id) IN ({_LIKED}))
    {_SHOWN} GROUP BY model_version, variant, seconds ORDER BY count() DESC LIMIT {MOST_SERIES}
"""
_FILMS = f"SELECT seconds, uniqExact(arrayJoin(item_ids)) {_SHOWN} GROUP BY seconds"
_NOVELTY = f"""
    WITH
        (SELECT uniqExact(user_id) FROM liked) AS viewers,
        liked AS (
            SELECT user_id, item_id FROM {SIGNALS_VIEW}
            WHERE user_id != {PROBE_USER} GROUP BY user_id, item_id HAVING {_POSITIVE}
        )
    SELECT seconds, sum(times * log2(viewers / greatest(1, known))) / sum(times)
    FROM (SELECT seconds, arrayJoin(item_ids) AS item_id, count() AS times {_SHOWN} GROUP BY seconds, item_id) AS shown
    LEFT JOIN (SELECT item_id, uniqExact(user_id) AS known FROM liked GROUP BY item_id) AS popularity USING (item_id)
    WHERE viewers > 0
    GROUP BY seconds
"""


def collect(client: Client, films: int, confidence: ConfidenceParameters = _DEFAULT) -> Samples:
    """Return the lists of the past hour, day and week; `films` is the size of the catalogue,
    `confidence` says what counts as liked.

    With 200,000 lists of 20 films in the week and 1 million events that takes 0.5 s of a core.

    Novelty is the mean self-information of the films shown, log2(viewers / viewers who liked the film), each showing
    counting once (Zhou et al., PNAS 107(10), 2010, "surprisal"); a film that nobody liked counts as liked by one.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    shown: dict[Labels, float] = {}
    liked: dict[Labels, float] = {}
    for version, variant, seconds, lists, with_like in client.query(_LISTS).result_rows:
        labels = (version, variant, _NAME[seconds])
        shown[labels], liked[labels] = float(lists), float(with_like)
    seen = client.query(_FILMS).result_rows
    novelty = client.query(_NOVELTY.replace(_POSITIVE, positive_sql(confidence))).result_rows
    return {
        LISTS_SHOWN: shown,
        LISTS_LIKED: liked,
        CTR: {labels: liked[labels] / lists for labels, lists in shown.items()},
        CATALOGUE_COVERAGE: {(_NAME[seconds],): count / films for seconds, count in seen} if films else {},
        NOVELTY: {(_NAME[seconds],): float(bits) for seconds, bits in novelty},
    }

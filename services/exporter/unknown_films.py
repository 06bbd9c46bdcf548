"""Stored signals for films that are not in the catalogue.

The consumer accepts such events, because the catalogue may be loaded later. They are counted here.
"""

from collections.abc import Collection

from clickhouse_connect.driver.client import Client

from services.contracts.metrics import INGEST_UNKNOWN_FILMS
from services.contracts.tables import SIGNALS_VIEW
from services.exporter.gauges import Samples


def collect(client: Client, catalogue: Collection[int]) -> Samples:
    """Return the number of signals for films that are not in ``catalogue``.

    Raises:
        clickhouse_connect.driver.exceptions.Error: ClickHouse does not answer or refuses.
    """
    rows = client.query(f"SELECT item_id, count() FROM {SIGNALS_VIEW} GROUP BY item_id").result_rows  # noqa: S608
    return {INGEST_UNKNOWN_FILMS: {(): float(sum(count for film, count in rows if film not in catalogue))}}

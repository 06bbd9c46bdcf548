"""Small data for the Spark engine, and Spark settings under which a test spends little time."""

from datetime import datetime, timedelta, timezone

import numpy as np
from clickhouse_connect.driver.client import Client

from services.contracts.bundle import ConfidenceParameters
from services.contracts.ids import PROBE_USER
from services.trainer.data.dataset import TrainingData, training_data
from services.trainer.data.extract import read_signals
from services.trainer.data.signals import Signals, pivot
from services.trainer.engines.spark_session import SparkSettings
from services.trainer.models.kinds import als

ALPHA = 3.0
QUICK = {
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.adaptive.enabled": "false",
}
"""Compiles little: on a few rows most of Spark's time is its compilers'."""
ONE_THREAD = SparkSettings(master="local[1]", driver_memory="1g", blocks=2, conf=QUICK)
SMALL = als.Parameters(factors=3, regularization=2.0, iterations=3, alpha=ALPHA)
START = datetime(2026, 11, 1, tzinfo=timezone.utc)


def regular() -> TrainingData:
    """16 viewers like 4 of 8 films each, and dislike one: every film has 8 likes and 2 dislikes."""
    rows = [(user, (user + step) % 8, 1.0) for user in range(16) for step in range(4)]
    rows += [(user, (user + 5) % 8, -1.0) for user in range(16)]
    user, item, weight = (np.array(column) for column in zip(*sorted(rows), strict=True))
    n = len(rows)
    signals = Signals(
        user + 100, item + 500, np.zeros(n, np.uint8), weight.astype(np.float32), np.ones(n, np.uint64),
        np.arange(n, dtype=np.uint64),
    )  # fmt: skip
    return training_data(pivot(signals), ConfidenceParameters(like=1, dislike=-1))


def insert(client: Client, *rows: tuple[int, int, str, float, int]) -> None:
    """Insert (user, item, signal, value, second) rows."""
    columns = ["user_id", "item_id", "signal", "value", "event_time", "version"]
    times = [START + timedelta(seconds=row[4]) for row in rows]
    versions = [int(time.timestamp() * 1_000_000) << 64 for time in times]
    client.insert(
        "signals",
        [(*row[:4], time, version) for row, time, version in zip(rows, times, versions, strict=True)],
        column_names=columns,
    )


def insert_all_kinds(client: Client) -> None:
    insert(
        client,
        *[(user, item, "rating", float((user * item) % 5 + 1), 0) for user in range(1, 13) for item in range(1, 10)],
        (1, 1, "opinion", 1, 1), (2, 1, "opinion", -1, 1), (3, 1, "opinion", 0, 1),  # before the rating; withdrawn
        (4, 20, "watched", 1, 1), (5, 20, "watched", 1, 1), (5, 20, "opinion", -1, 2),
        (6, 1, "rating", 5, 3), (7, 1, "rating", 0, 3),  # changed; withdrawn
        (50, 1, "rating", 1, 4), (51, 30, "rating", 1, 4),  # a viewer without a positive, a film without one
        (60, 1, "opinion", 1, 5), (PROBE_USER, 1, "opinion", 1, 5),
    )  # fmt: skip
    client.command("INSERT INTO erased_users (user_id) VALUES (60)")


def extracted(client: Client, parameters: ConfidenceParameters) -> TrainingData:
    return training_data(pivot(read_signals(client)), parameters)

"""Looks on while a soak runs: how far behind the consumers are, whether a view shows anything twice, memory."""

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ClickHouseError
from confluent_kafka import KafkaException

from services.contracts.tables import EVENTS_VIEW, IMPRESSIONS_VIEW, QUARANTINE_VIEW, SIGNALS_VIEW
from tests.faults.world import World
from tests.support.processes import ServiceProcess

LOOK_SECONDS = 2
MEGABYTE = 2**20
IDENTITIES = {
    EVENTS_VIEW: "user_id, event_id, item_id, action, ifNull(value, 0)",
    SIGNALS_VIEW: "user_id, item_id, signal",
    QUARANTINE_VIEW: "epoch, partition, offset",
    IMPRESSIONS_VIEW: "user_id, request_id",
}
"""What a view must show only once."""


@dataclass(frozen=True)
class Trend:
    """A process's memory over time, in MB."""

    largest: float
    begin: float
    """Median of the second quarter: by then everything has been imported and allocated once."""
    end: float
    """Median of the last quarter."""
    per_minute: float
    """Least-squares slope from the second quarter on."""


def trend(samples: Sequence[tuple[float, float]]) -> Trend:
    """Return the trend of (seconds, MB) samples, in the order of time; at least 8.

    >>> trend([(second, 100.0 + second) for second in range(60)]).per_minute
    60.0
    """
    quarter = len(samples) // 4
    settled = samples[quarter:]
    slope = statistics.linear_regression([t for t, _ in settled], [mb for _, mb in settled]).slope
    return Trend(
        largest=max(mb for _, mb in samples),
        begin=statistics.median(mb for _, mb in samples[quarter : 2 * quarter]),
        end=statistics.median(mb for _, mb in samples[-quarter:]),
        per_minute=round(slope * 60, 3),
    )


def resident_megabytes(process: ServiceProcess) -> float | None:
    """The process's resident memory, None when it does not run."""
    try:
        return float(psutil.Process(process.pid).memory_info().rss) / MEGABYTE
    except (RuntimeError, psutil.NoSuchProcess):
        return None


def shown_twice(client: Client) -> dict[str, int]:
    """Per view how many rows it shows beyond one each."""
    return {
        view: int(client.command(f"SELECT count() - uniqExact({identity}) FROM {view}"))  # type: ignore[arg-type]
        for view, identity in IDENTITIES.items()
    }


class Onlooker:
    """Looks at the stream on a thread of its own, for Kafka and ClickHouse may let it wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak-onlooker", daemon=True)
        self.lag: int | None = None
        """Records that are not committed; None: nobody can tell now."""
        self.looks = 0
        """How often the views could be looked at."""
        self.redelivered = 0
        """The most rows seen that were written again and not merged yet."""
        self.doubled: list[str] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join(90)

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.lag = self._world.lag()
            except (KafkaException, TimeoutError):
                self.lag = None
            try:
                self._look_at_views()
            except (ClickHouseError, OSError):
                time.sleep(0.1)

    def _look_at_views(self) -> None:
        with self._world.client() as client:
            twice = shown_twice(client)
        self.doubled += [f"{view} showed {count} rows twice" for view, count in twice.items() if count]
        self.redelivered = max(self.redelivered, self._world.redelivered())
        self.looks += 1

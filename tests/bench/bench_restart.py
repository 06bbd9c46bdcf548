"""`python -m tests.bench.bench_restart [--events N]`: how soon a restarted replica is ready, and a rollback served.

1. Records per second that one thread reads and folds in from Kafka.
2. A restart with N events after the model's extract, with ClickHouse and without it; the memory that they take.
3. A rollback to a model whose extract ends 2 N events before the served one's.

Prints them; the exit status is 1 when a goal is missed (150,000 events/s; 10 s with ClickHouse for a million).
"""

import argparse
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import psutil
from prometheus_client import CollectorRegistry

from services.common.kafka import admin, describe_topic, end_offsets
from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.inference.history.live import LiveHistory
from services.inference.history.spans import Spans
from services.inference.history.topic_reader import TopicReader
from services.inference.metrics import Metrics
from tests.support.bundles import make_bundle
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.pipeline import Pipeline
from tests.support.processes import wait_until as wait_for
from tests.support.services import ClickHouseServer, KafkaServer, PostgresServer

GOAL_PER_SECOND, GOAL_READY_SECONDS = 150_000, 10.0
NOWHERE = "http://default:@127.0.0.1:9/default"
VIEWERS, FILMS = 20_000, 3_000


def event(n: int, start: datetime) -> Event:
    """Event number n: of many viewers and films, a third of them ratings."""
    return Event(
        user_id=UserId(1 + n * 7919 % VIEWERS),
        item_id=ItemId(1 + (n * 104_729 + n // VIEWERS) % FILMS),
        action=Action.RATE if n % 3 == 0 else Action.LIKE,
        value=3.5 if n % 3 == 0 else None,
        event_id=uuid4(),
        event_time=start + timedelta(microseconds=n),
        source="bench",
    )


def read_rate(pipeline: Pipeline, heads: dict[int, int]) -> float:
    """Return the records per second that one thread reads from Kafka and folds into a live history."""
    live, best = LiveHistory(), 0.0
    reader = TopicReader(pipeline.bootstrap, pipeline.events_topic, Metrics(CollectorRegistry()))
    for _ in range(3):
        spans = Spans()
        for partition, end in heads.items():
            spans.add(partition, 0, end)
        begun = time.perf_counter()
        reader.read_again(spans, lambda changes, _: live.fold(changes), threading.Event())
        best = max(best, len(spans) / (time.perf_counter() - begun))
    return best


def restarted(replica: Replica) -> float:
    """Start a replica, return how many seconds it takes until it is ready, and stop it."""
    begun = time.perf_counter()
    replica.start()
    try:
        wait_until(replica.ready, "the replica is ready", 300)
        return time.perf_counter() - begun
    finally:
        replica.stop()


def main() -> int:
    """Run all on servers of their own; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_restart", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="events after the model's extract")
    total = parser.parse_args().events
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("k", "c", "p", "pipeline"):
            (folder / part).mkdir()
        kafka, clickhouse = KafkaServer(folder / "k"), ClickHouseServer(folder / "c")
        postgres = PostgresServer(folder / "p")
        for server in (kafka, clickhouse, postgres):
            stack.callback(server.close)
            server.start()
        dsn, database = postgres.dsn(postgres.create_database()), clickhouse.create_database()
        prepare_catalogue(dsn)
        pipeline = Pipeline(kafka.bootstrap, clickhouse.url(database), folder / "pipeline")
        pipeline.make_topics()
        consumer = pipeline.consumer()
        stack.callback(consumer.close)
        consumer.start()
        start = datetime.now(timezone.utc) - timedelta(hours=1)
        client = pipeline.connect()

        def produce(first: int, count: int) -> dict[int, int]:
            pipeline.produce(event(n, start) for n in range(first, first + count))
            count_stored = "SELECT count() FROM events"
            wait_for(lambda: client.query(count_stored).result_rows[0][0] >= first + count, 600, "all is stored")
            return end_offsets(admin(kafka.bootstrap), identity)

        identity = describe_topic(admin(kafka.bootstrap), pipeline.events_topic)
        heads = produce(0, total)
        rate = read_rate(pipeline, heads)
        print(f"read from Kafka by one thread   {rate:>10,.0f} events/s (goal: {GOAL_PER_SECOND:,})", flush=True)

        old = make_bundle(folder / "m", "v1", topic_id=identity.topic_id, offsets=dict.fromkeys(heads, 0))
        crown(dsn, old.manifest)
        for label, url in (("from Kafka alone", NOWHERE), ("with ClickHouse", pipeline.clickhouse_url)):
            ready = restarted(Replica(*_where(pipeline, dsn, url, folder)))
            print(f"ready after {total:,} events    {ready:>10.1f} s {label}", flush=True)

        heads = produce(total, total)
        new = make_bundle(folder / "m", "v2", topic_id=identity.topic_id, offsets=heads)
        crown(dsn, new.manifest)
        replica = Replica(*_where(pipeline, dsn, pipeline.clickhouse_url, folder)).start()
        stack.callback(replica.stop)
        wait_until(replica.ready, "the replica is ready", 60)
        before, begun = psutil.Process().memory_info().rss, time.perf_counter()
        crown(dsn, old.manifest)
        wait_until(lambda: replica.version() == "v1", "the rollback is served", 300)
        print(f"rollback across {2 * total:,} events {time.perf_counter() - begun:>10.1f} s")
        signals = sum(len(slots) for slots in replica.services.live._slots.values())
        grown = psutil.Process().memory_info().rss - before
        print(f"memory of {signals:,} live signals {grown / 2**20:>10,.0f} MiB")
    return int(rate < GOAL_PER_SECOND or ready * 1e6 > GOAL_READY_SECONDS * max(total, 10**6))


def _where(pipeline: Pipeline, dsn: str, clickhouse: str, folder: Path) -> tuple[str, str, str, Path, str, str]:
    topics = (pipeline.events_topic, pipeline.impressions_topic)
    return (pipeline.bootstrap, dsn, clickhouse, folder / "m", *topics)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.bench_consumer`: what the guarantees cost, and how soon an event is visible.

1. One consumer process with all guarantees against a bare loop (poll, decode, insert in blocks of the same size,
   auto-commit), each draining a backlog of its own: events per second, and their ratio.
2. 2,000 events/s through the consumer: the 95th percentile of the time from the broker's acknowledgement until the
   event is in the view.
Prints both; the exit status is 1 when a goal is missed (70 % and 10,000 events/s; 2 s).
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import KafkaError, Message

from tests.support.pipeline import Pipeline, event
from tests.support.processes import ServiceProcess, wait_until
from tests.support.services import ClickHouseServer, KafkaServer

GOAL_RATIO, GOAL_PER_SECOND, GOAL_P95_SECONDS = 0.7, 10_000, 2.0
RATE = 2_000


def drain_rate(pipeline: Pipeline, process: ServiceProcess, total: int) -> float:
    """Return the events per second with which ``process`` stores a backlog, from its first rows to its last."""
    client = pipeline.connect()

    def stored() -> int:
        return int(client.query("SELECT count() FROM events").result_rows[0][0])

    process.start()
    try:
        wait_until(lambda: stored() > 0, 60, "the first rows", every_seconds=0.01)
        before, begun = stored(), time.monotonic()
        wait_until(lambda: stored() >= total, 300, f"{total} rows", every_seconds=0.02)
        return (total - before) / (time.monotonic() - begun)
    finally:
        process.stop()


def bare(pipeline: Pipeline) -> ServiceProcess:
    """Return the bare loop on this pipeline, not started."""
    argv = [sys.executable, "-m", "tests.bench.bare_consumer"]
    return ServiceProcess("bare", argv, pipeline.folder / "bare.log", env={**os.environ, **pipeline.env()})


def visible_after(pipeline: Pipeline, total: int) -> list[float]:
    """Return, sorted, how long after its acknowledgement each of ``total`` events sent at `RATE` was in the view.

    Offsets of a partition become visible in order, so its greatest visible one tells of all before.
    """
    acknowledged: dict[tuple[int, int], float] = {}
    visible: list[tuple[float, dict[int, int]]] = []
    done = threading.Event()

    def watch() -> None:
        client = pipeline.connect()
        while not done.is_set():
            rows = client.query("SELECT partition, max(offset) FROM events_v GROUP BY partition").result_rows
            visible.append((time.monotonic(), {int(p): int(o) for p, o in rows}))
            done.wait(0.02)

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        assert error is None, error
        assert partition is not None
        assert offset is not None
        acknowledged[partition, offset] = time.monotonic()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begun = time.monotonic()
    for n in range(total):
        value = event(n, user=1 + n % 5_000).model_dump_json().encode()
        pipeline.producer.produce(pipeline.events_topic, key=str(n % 5_000), value=value, on_delivery=on_delivery)
        pipeline.producer.poll(max(0.0, begun + n / RATE - time.monotonic()))
    pipeline.producer.flush(30)
    wait_until(lambda: pipeline.count("events_v") >= total, 60, "everything is visible")
    time.sleep(0.2)  # one more look of the watcher
    done.set()
    watcher.join(10)
    ends = dict.fromkeys(acknowledged, float("inf"))
    for seen_at, heads in reversed(visible):
        for place in ends:
            if place[1] <= heads.get(place[0], -1):
                ends[place] = seen_at
    return sorted(ends[place] - acknowledged[place] for place in ends)


def main() -> int:
    """Run both on servers of their own; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_consumer", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="the backlog that is drained")
    parser.add_argument("--seconds", type=int, default=15, help=f"how long to send {RATE} events/s")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        kafka, clickhouse = KafkaServer(folder), ClickHouseServer(folder)
        for server in (kafka, clickhouse):
            stack.callback(server.close)
            server.start()
        pipelines = {}
        for which in ("guaranteed", "bare", "latency"):
            place = folder / which
            place.mkdir()
            url = clickhouse.url(clickhouse.create_database())
            pipelines[which] = Pipeline(kafka.bootstrap, url, place)
            pipelines[which].make_topics()
        for which in ("guaranteed", "bare"):
            pipelines[which].produce(event(n) for n in range(args.events))
        bare_rate = drain_rate(pipelines["bare"], bare(pipelines["bare"]), args.events)
        rate = drain_rate(pipelines["guaranteed"], pipelines["guaranteed"].consumer(), args.events)
        consumer = pipelines["latency"].consumer()
        stack.callback(consumer.close)
        consumer.start()
        wait_until(lambda: '"assigned"' in consumer.log_tail(), 60, "the consumer has its partitions")
        waits = visible_after(pipelines["latency"], args.seconds * RATE)
    p50, p95 = (waits[int(len(waits) * q)] for q in (0.5, 0.95))
    print(f"bare loop           {bare_rate:>10,.0f} events/s")
    print(f"with all guarantees {rate:>10,.0f} events/s   {rate / bare_rate:.0%} (goals: 70 %, 10,000 events/s)")
    print(f"acknowledged → visible at {RATE:,} events/s: p50 {p50:.2f} s, p95 {p95:.2f} s (goal: 2 s)")
    return int(rate < GOAL_PER_SECOND or rate < GOAL_RATIO * bare_rate or p95 >= GOAL_P95_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.bench_against CHECKOUT`: this checkout against another one of the project, in one run.

Each side runs its own code on servers of its own, and both are asked in turn, in random order, so that whatever else
the machine does meets both alike. Measured: requests per second of one replica (one in ten a like, the others lists),
and events per second of one consumer that drains a backlog. Printed: medians, and the median of the ratios round by
round with its middle half. The exit status is 1 when a ratio is below the goal.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench.bench_consumer import drain_rate
from tests.bench.bench_observability import FACTORS, FILMS, ON, VIEWERS, Api
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, crown, prepare_catalogue
from tests.support.pipeline import Pipeline, event
from tests.support.services import ClickHouseServer, KafkaServer, PostgresServer

ROOT = Path(__file__).resolve().parents[2]
GOAL = 0.97
ROUNDS = {"lists": 60, "consumer": 7}
LISTS_SECONDS = 0.25
BACKLOG = 100_000


def main() -> int:
    """Run both sides; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of the other checkout")
    parser.add_argument("--only", choices=sorted(ROUNDS), help="measure this alone")
    args = parser.parse_args()
    order, below = random.Random(1), 0
    with _side(args.checkout.resolve()) as other, _side(ROOT) as this:
        print(f"{'':10}{'other':>12}{'this':>12}{'this / other':>14}{'middle half':>18}")
        for what in [args.only] if args.only else ROUNDS:
            ratios, rates = [], ([], [])  # type: ignore[var-annotated]
            for _ in range(ROUNDS[what] + 1):  # the first one warms up
                asked = {side: side.ask(what) for side in order.sample([other, this], 2)}
                ratios.append(asked[this] / asked[other])
                for kept, side in zip(rates, (other, this), strict=True):
                    kept.append(asked[side])
            low, ratio, high = statistics.quantiles(ratios[1:], n=4, method="inclusive")
            medians = "".join(f"{statistics.median(kept[1:]):12,.0f}" for kept in rates)
            print(f"{what:10}{medians}{ratio:14.3f}{f'{low:.3f}-{high:.3f}':>18}", flush=True)
            below += ratio < GOAL
    print(f"goal: {GOAL}")
    return int(below > 0)


class _Side:
    """A process with the other checkout's code, which measures when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, what: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def _side(root: Path) -> Iterator[_Side]:
    argv = [sys.executable, __file__, "--side"]
    env = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, env=env) as process:
        try:
            yield _Side(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # ends it in order
            process.wait(60)


def _measure() -> None:
    """Be one side: read what to measure from standard input, answer with a rate, until there is no more."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("k", "c", "p"):
            (folder / part).mkdir()
        kafka, clickhouse = KafkaServer(folder / "k"), ClickHouseServer(folder / "c")
        postgres = PostgresServer(folder / "p")
        for server in (kafka, clickhouse, postgres):
            stack.callback(server.close)
            server.start()
        for topic in ("events", "impressions"):
            kafka.create_topic(topic, partitions=2)
        dsn = postgres.dsn(postgres.create_database())
        prepare_catalogue(dsn, FILMS)
        likes = {viewer: [viewer % FILMS + 1, (7 * viewer) % FILMS + 1] for viewer in range(1, VIEWERS + 1)}
        crown(dsn, make_bundle(folder / "m", "v1", likes=likes, items=FILMS, factors=FACTORS).manifest)
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "CLICKHOUSE_URL": clickhouse.url(),
            "POSTGRES_DSN": dsn,
            "MODEL_DIR": str(folder / "m"),
            "ADMIN_API_KEY": ADMIN_KEY,
        }
        api = Api(ON, "on", environment, folder)
        stack.callback(api.process.close)
        api.process.start().wait_ready(api.ready)
        for number, line in enumerate(sys.stdin):
            if line.strip() == "lists":
                print(api.requests_per_second(LISTS_SECONDS), flush=True)
                continue
            place = folder / f"backlog-{number}"
            place.mkdir()
            pipeline = Pipeline(kafka.bootstrap, clickhouse.url(clickhouse.create_database()), place)
            pipeline.make_topics()
            pipeline.produce(event(n) for n in range(BACKLOG))
            print(drain_rate(pipeline, pipeline.consumer(), BACKLOG), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--side"]:
        _measure()
    else:
        sys.exit(main())

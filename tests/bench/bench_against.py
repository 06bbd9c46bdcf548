"""`python -m tests.bench.bench_against CHECKOUT`: this checkout against another one of the project, in one run.

Each side runs its own code on servers of its own, and both are asked in turn, in random order, so that whatever else
the machine does meets both alike. Measured: requests per second of one replica (one in ten a like, the others lists),
also per second of the replica's CPU time, which other work on the machine disturbs less, and events per second of one
consumer that drains a backlog. Printed: medians, and the median of the ratios round by
round with its middle half. The exit status is 1 when a ratio is below the goal.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
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
ROUNDS = {"lists": 80, "consumer": 8}
LISTS_SECONDS = 0.5  # CPU time is counted in hundredths of a second
BACKLOG = 100_000


def main() -> int:
    """Run both sides; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_against", description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of the other checkout")
    parser.add_argument("--only", choices=sorted(ROUNDS), help="measure this alone")
    args = parser.parse_args()
    checkouts = (args.checkout.resolve(), ROOT)
    order, below = random.Random(1), 0
    print(f"{'':18}{'other':>12}{'this':>12}{'this / other':>14}{'middle half':>18}")
    for what in [args.only] if args.only else ROUNDS:
        rounds = [*_rounds(what, checkouts, order), *_rounds(what, checkouts[::-1], order)]
        for unit in rounds[0][ROOT]:
            rates = [(asked[checkouts[0]][unit], asked[ROOT][unit]) for asked in rounds]
            low, ratio, high = statistics.quantiles([this / other for other, this in rates], n=4, method="inclusive")
            medians = "".join(f"{statistics.median(side):12,.0f}" for side in zip(*rates, strict=True))
            print(f"{unit:18}{medians}{ratio:14.3f}{f'{low:.3f}-{high:.3f}':>18}", flush=True)
            below += ratio < GOAL
    print(f"goal: {GOAL}")
    return int(below > 0)


Rates = dict[str, float]
"""By what they are of."""


def _rounds(what: str, checkouts: Sequence[Path], order: random.Random) -> list[dict[Path, Rates]]:
    """Start the sides one after the other and ask them in turn; return what each round measured.

    Half of the rounds are with the other order of starting: a side that is started later has been seen 3 % slower.
    """
    with ExitStack() as stack:
        sides = [(checkout, stack.enter_context(_side(checkout))) for checkout in checkouts]
        rounds = [
            {checkout: side.ask(what) for checkout, side in order.sample(sides, 2)}
            for _ in range(ROUNDS[what] // 2 + 1)
        ]
    return rounds[1:]  # the first one warms up


class _Side:
    """A process with the other checkout's code, which measures when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, what: str) -> Rates:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        rates: Rates = json.loads(self._process.stdout.readline())
        return rates


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
    """Be one side: read what to measure from standard input, answer with rates as JSON, until there is no more."""
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
                cpu = api.cpu_seconds()
                rate = api.requests_per_second(LISTS_SECONDS)
                per_cpu = rate * LISTS_SECONDS / (api.cpu_seconds() - cpu)
                print(json.dumps({"lists/s": rate, "lists/CPU s": per_cpu}), flush=True)
                continue
            place = folder / f"backlog-{number}"
            place.mkdir()
            pipeline = Pipeline(kafka.bootstrap, clickhouse.url(clickhouse.create_database()), place)
            pipeline.make_topics()
            pipeline.produce(event(n) for n in range(BACKLOG))
            print(json.dumps({"events/s": drain_rate(pipeline, pipeline.consumer(), BACKLOG)}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--side"]:
        _measure()
    else:
        sys.exit(main())

"""`python -m tests.bench.bench_reload [SWAPS]`: model swaps under load; no request may fail, no like get lost."""

import sys
import tempfile
from pathlib import Path

import numpy as np

from services.common.kafka import admin, describe_topic
from tests.support.bundles import make_bundle
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer, PostgresServer
from tests.support.swaps import swap_under_load

DEFAULT_SWAPS = 1_000


def main() -> int:
    """Print what happened; 1 when any request failed."""
    swaps = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_SWAPS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "k").mkdir()
        (folder / "p").mkdir()
        kafka, postgres = KafkaServer(folder / "k"), PostgresServer(folder / "p")
        try:
            kafka.start()
            postgres.start()
            dsn = postgres.dsn(postgres.create_database())
            prepare_catalogue(dsn)
            events = kafka.create_topic(partitions=2)
            topic_id = describe_topic(admin(kafka.bootstrap), events).topic_id
            bundles = [
                make_bundle(folder / "m", version, seed=seed, topic_id=topic_id, offsets={0: 0, 1: 0})
                for seed, version in enumerate(("v1", "v2"))
            ]
            crown(dsn, bundles[0].manifest)
            nowhere = "http://default:@127.0.0.1:9/default"
            replica = Replica(kafka.bootstrap, dsn, nowhere, folder / "m", events, kafka.create_topic(partitions=1))
            replica.start()
            try:
                wait_until(replica.ready, "the replica is ready")
                report = swap_under_load(replica, bundles[::-1], swaps)
            finally:
                replica.stop()
        finally:
            kafka.close()
            postgres.close()
    p50, p99 = np.quantile(report.latencies, [0.5, 0.99]) * 1e3
    print(f"{report.swaps} swaps in {report.seconds:.1f} s, {len(report.latencies)} requests meanwhile")
    print(f"answers by version {dict(report.versions)}; p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    print(f"failed requests, or lists without the viewer's like: {len(report.wrong)} {report.wrong[:3]}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.bench_observability [ROUNDS]`: what metrics, logs and traces cost the API, in one run.

Four replicas stand side by side: one with nothing that observes it; one as it is delivered, asked without a
`traceparent`, so that it logs only what failed or was slow; one that also exports a tenth of all traces and logs their
requests; one that logs every request. They are asked in turn, round after round; each round gives ratios, whose median
counts. The middle half of the ratios stands beside it: where it is wide, others used the machine.
"""

import os
import random
import socket
import statistics
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.bundles import make_bundle
from tests.support.inference import crown, prepare_catalogue
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.services import KafkaServer, PostgresServer

ROUNDS = 150
ROUND_SECONDS = 0.15
WARM_UP_SECONDS = 0.05
CONNECTIONS = 4
FILMS, FACTORS, VIEWERS = 2_000, 64, 200
EVENTS_EVERY = 10
"""One request in so many is a like, the others ask for lists."""
GOAL = 0.95
OFF, ON, TRACED, LOGGED = "without", "as delivered", "a tenth traced", "all logged"


class Api:
    """A replica's process, asked over raw sockets: a client that costs next to nothing."""

    def __init__(self, name: str, mode: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.port = free_port()
        argv = [sys.executable, "-m", "tests.bench.observed_api", mode]
        env = os.environ | environment | {"INFERENCE_PORT": str(self.port)}
        self.process = ServiceProcess(name, argv, folder / f"{name}.log", env=env)

    def ready(self) -> bool:
        try:
            return self._connect().ask(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n") == b"200"
        except OSError:
            return False

    def requests_per_second(self, seconds: float) -> float:
        """Ask as fast as it answers, over a few connections."""
        counts = [0] * CONNECTIONS
        ends = time.perf_counter() + seconds

        def ask(index: int) -> None:
            connection = self._connect()
            number = index
            while time.perf_counter() < ends:
                number += CONNECTIONS
                expected = b"202" if number % EVENTS_EVERY == 0 else b"200"
                status = connection.ask(_request(number))
                assert status == expected, (self.name, status)
                counts[index] += 1

        start = time.perf_counter()
        threads = [threading.Thread(target=ask, args=(index,)) for index in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - start)

    def cpu_seconds(self) -> float:
        """What the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (kilobytes,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        return kilobytes / 1024

    def _connect(self) -> "_Connection":
        return _Connection(self.port)


class _Connection:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def ask(self, request: bytes) -> bytes:
        """Send one request and read its whole answer; return the status."""
        self._socket.sendall(request)
        status = self._answers.readline().split()[1]
        length = 0
        while (line := self._answers.readline()) not in {b"\r\n", b""}:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._answers.read(length)
        return status


def _request(number: int) -> bytes:
    viewer = number % VIEWERS + 1
    if number % EVENTS_EVERY:
        return f"GET /v1/users/{viewer}/recommendations?k=10 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    body = f'{{"user_id": {viewer}, "item_id": {number % FILMS + 1}, "action": "like"}}'
    return (
        "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> int:
    """Print the table; 1 when the delivered service loses more than the goal allows."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("k", "p"):
            (folder / part).mkdir()
        kafka, postgres = KafkaServer(folder / "k"), PostgresServer(folder / "p")
        for server in (kafka, postgres):
            stack.callback(server.close)
            server.start()
        for topic in ("events", "impressions"):
            kafka.create_topic(topic, partitions=2)
        dsn = postgres.dsn(postgres.create_database())
        prepare_catalogue(dsn, FILMS)
        likes = {viewer: [viewer % FILMS + 1, (7 * viewer) % FILMS + 1] for viewer in range(1, VIEWERS + 1)}
        crown(dsn, make_bundle(folder / "m", "v1", likes=likes, items=FILMS, factors=FACTORS).manifest)
        collector = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        stack.callback(collector.shutdown)
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "CLICKHOUSE_URL": "http://default:@127.0.0.1:9/default",
            "POSTGRES_DSN": dsn,
            "MODEL_DIR": str(folder / "m"),
            "ADMIN_API_KEY": "a-key-for-this-benchmark",
        }
        traces = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.1",
        }
        apis = [
            Api(OFF, "off", environment, folder),
            Api(ON, "on", environment, folder),
            Api(TRACED, "on", environment | traces, folder),
            Api(LOGGED, "on", environment | {"LOG_LEVEL": "DEBUG"}, folder),
        ]
        for api in apis:
            stack.callback(api.process.close)
            api.process.start().wait_ready(api.ready)
        for api in apis:
            api.requests_per_second(1.0)
        measured: dict[str, list[float]] = {api.name: [] for api in apis}
        cpu = dict.fromkeys(measured, 0.0)
        order = random.Random(1)
        for _ in range(rounds):
            for api in order.sample(apis, len(apis)):  # so that each comes after each other one
                api.requests_per_second(WARM_UP_SECONDS)
                before = api.cpu_seconds()
                measured[api.name].append(api.requests_per_second(ROUND_SECONDS))
                cpu[api.name] += api.cpu_seconds() - before
        memory = {api.name: api.memory_mb() for api in apis}
    print(f"{'':16}{'requests/s':>12}{'of without':>12}{'middle half':>16}{'CPU each':>12}{'memory':>10}")
    shares = {}
    for name, values in measured.items():
        ratios = [v / off for v, off in zip(values, measured[OFF], strict=True)]
        low, shares[name], high = statistics.quantiles(ratios, n=4, method="inclusive")
        each_us = cpu[name] / (sum(values) * ROUND_SECONDS) * 1e6
        print(
            f"{name:16}{statistics.median(values):12,.0f}{shares[name]:12.1%}{f'{low:.1%}-{high:.1%}':>16}"
            f"{each_us:9,.0f} µs{memory[name]:7.0f} MB"
        )
    print(f"goal: as delivered at least {GOAL:.0%} of without, median of {rounds} rounds")
    return 0 if shares[ON] >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench.attack_http [CHECKOUT]`: what one hostile client of the HTTP servers does to all others.

One replica and one metrics server on servers of their own, on 127.0.0.1. While each attack lasts (seconds, it stops by
itself) other clients ask for lists; printed is what became of the attack and of them. With another checkout of the
project the same is done to its code first, in a process of its own, so that both columns come out of one run.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.bundles import make_bundle
from tests.support.inference import crown, prepare_catalogue
from tests.support.ports import free_port
from tests.support.services import KafkaServer, PostgresServer

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
FILMS = 500
LIST = b"GET /v1/users/7/recommendations?k=10 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
METRICS_SERVER = """
import sys, time
from prometheus_client import REGISTRY
from services.common.metrics_server import Heartbeat, serve
serve(REGISTRY, Heartbeat(at_most_seconds=1e9), "127.0.0.1", int(sys.argv[1]))
while True: time.sleep(60)
"""


@dataclass
class Others:
    """Clients that ask for a list again and again, each time on a connection of their own."""

    port: int
    seconds: list[float] = field(default_factory=list)
    lost: int = 0

    @contextmanager
    def asking(self) -> Iterator["Others"]:
        """Ask while the block lasts."""
        over = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(over,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        try:
            yield self
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _ask(self, over: threading.Event) -> None:
        while not over.is_set():
            start = time.perf_counter()
            if b" 200 " in ask(self.port, LIST, timeout=3)[:20]:
                self.seconds.append(time.perf_counter() - start)
            else:
                self.lost += 1
            time.sleep(0.02)

    def __str__(self) -> str:
        if not self.seconds:
            return f"no list at all, {self.lost} lost"
        median, worst = statistics.median(self.seconds), max(self.seconds)
        return f"lists: {len(self.seconds)}, median {median * 1e3:.0f} ms, worst {worst * 1e3:.0f} ms, {self.lost} lost"


def ask(port: int, request: bytes, timeout: float = 15) -> bytes:
    """Return the whole answer, as much as comes."""
    parts = []
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        while part := connection.recv(MIB):
            parts.append(part)
    return b"".join(parts)


def status(answer: bytes) -> str:
    return answer[9:12].decode() if answer else "no answer"


def post(body: bytes, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in headers or (b"Content-Type: application/json",))
    return (
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        + head
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


@dataclass
class Target:
    """The replica under attack, and what it runs on."""

    port: int
    process: psutil.Process
    postgres: PostgresServer
    kafka: KafkaServer
    metrics_port: int
    metrics_process: psutil.Process

    def memory(self) -> float:
        return float(self.process.memory_info().rss) / MIB

    def open_connections(self, port: int) -> int:
        process = self.process if port == self.port else self.metrics_process
        return sum(c.laddr.port == port and c.status == "ESTABLISHED" for c in process.net_connections("tcp"))


def unknown_keys(target: Target) -> str:
    """One body of 1 MiB with 118,615 keys that no event has."""
    body = (b"{" + b",".join(b'"%05d":1' % n for n in range(118_615)))[: MIB - 1] + b"}"
    body = body[: body.rindex(b",")] + b"}"
    with Others(target.port).asking() as others:
        start = time.perf_counter()
        answer = ask(target.port, post(body))
        seconds = time.perf_counter() - start
    return f"{status(answer)} of {len(answer):,} bytes after {seconds:.2f} s; {others}"


def large_headers(target: Target) -> str:
    """100 MB of headers on one connection."""
    before, most = target.memory(), 0.0
    lines = b"".join(b"x-%06d: %s\r\n" % (n, b"y" * 85) for n in range(10_000))
    sent = 0
    with (
        Others(target.port).asking() as others,
        suppress(OSError),
        socket.create_connection(("127.0.0.1", target.port), timeout=15) as connection,
    ):
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(100):
            connection.sendall(lines)
            sent += len(lines)
            most = max(most, target.memory())
    return f"sent {sent / 1e6:.0f} MB, memory +{max(0.0, most - before):.0f} MB; {others}"


def pipelined(target: Target) -> str:
    """20 MB of requests on one connection, none of whose answers is read."""
    before, most, sent = target.memory(), 0.0, 0
    requests = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5_000
    with (
        Others(target.port).asking() as others,
        suppress(OSError),
        socket.create_connection(("127.0.0.1", target.port), timeout=2) as connection,
    ):
        for _ in range(80):
            connection.sendall(requests)
            sent += len(requests)
            most = max(most, target.memory())
    return f"sent {sent / 1e6:.0f} MB, memory +{max(0.0, most - before):.0f} MB; {others}"


def trailers(target: Target) -> str:
    """20 MB of trailers after a body of one byte."""
    before, most, sent = target.memory(), 0.0, 0
    lines = b"".join(b"x-%06d: %s\r\n" % (n, b"y" * 85) for n in range(10_000))
    with (
        Others(target.port).asking() as others,
        suppress(OSError),
        socket.create_connection(("127.0.0.1", target.port), timeout=5) as connection,
    ):
        connection.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
        )
        for _ in range(20):
            connection.sendall(lines)
            sent += len(lines)
            most = max(most, target.memory())
    return f"sent {sent / 1e6:.0f} MB, memory +{max(0.0, most - before):.0f} MB; {others}"


def slow_connections(target: Target) -> str:
    """200 connections that send a byte of their headers each second, for 14 s; 50 that stop in the middle of a body."""
    start = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nx: "
    with ExitStack() as stack, Others(target.port).asking() as others:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=2)) for _ in range(200)
        ]
        for connection in connections:
            connection.sendall(start)
        for _ in range(14):
            time.sleep(1)
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(b"y")
        left = target.open_connections(target.port)
    return f"{min(left, 200)} of 200 are still open; {others}"


def many_connections(target: Target) -> str:
    """900 connections that say nothing."""
    with ExitStack() as stack, Others(target.port).asking() as others:
        for _ in range(900):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=2))
        time.sleep(1)
        left = target.open_connections(target.port)
        time.sleep(1)
    return f"{left} are open after a second; {others}"


def _many(target: Target, requests: list[bytes], seconds: float, freeze: KafkaServer | PostgresServer) -> str:
    freeze.freeze()
    try:
        with ThreadPoolExecutor(len(requests)) as pool, Others(target.port).asking() as others:
            answers = [pool.submit(ask, target.port, request, seconds) for request in requests]
            time.sleep(seconds)
    finally:
        freeze.thaw()
    counts: dict[str, int] = {}
    for answer in answers:
        counts[status(answer.result())] = counts.get(status(answer.result()), 0) + 1
    return f"{', '.join(f'{n} × {s}' for s, n in sorted(counts.items()))}; {others}"


def frozen_postgres(target: Target) -> str:
    """PostgreSQL is frozen; 60 requests search or ask for films that nobody knows."""
    head = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    unknown = [b"GET /v1/items/%d/similar" % (10_000 + n) + head for n in range(30)]
    return _many(target, unknown + [b"GET /v1/items?query=abc" + head] * 30, 8, target.postgres)


def frozen_kafka(target: Target) -> str:
    """Kafka is frozen; 600 likes wait for it."""
    likes = [post(b'{"user_id": %d, "item_id": 3, "action": "like"}' % n) for n in range(1, 601)]
    return _many(target, likes, 6, target.kafka)


def from_a_page(target: Target) -> str:
    """What a page elsewhere makes the user's browser send: a history, a like; and a name pointed at our address."""
    history = b"GET /v1/users/7/history HTTP/1.1\r\nConnection: close\r\n"
    like = b'{"user_id": 7, "item_id": 3, "action": "like"}'
    asked = {
        "history, foreign Host": history + b"Host: evil.example\r\n\r\n",
        "history, foreign Origin": history + b"Host: localhost\r\nOrigin: http://evil.example\r\n\r\n",
        "history as an image": history + b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n",
        "like as text": post(like, b"Content-Type: text/plain", b"Origin: http://evil.example"),
        "like as text, no Origin": post(like, b"Content-Type: text/plain"),
    }
    return ", ".join(f"{what}: {status(ask(target.port, request))}" for what, request in asked.items())


def metrics_server(target: Target) -> str:
    """200 connections to the metrics server of another service that say nothing."""
    scrape = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(200):
            with suppress(OSError):
                stack.enter_context(socket.create_connection(("127.0.0.1", target.metrics_port), timeout=2))
        time.sleep(1)
        threads = target.metrics_process.num_threads()
        start = time.perf_counter()
        answer = ask(target.metrics_port, scrape)
        seconds = time.perf_counter() - start
        time.sleep(6)
        left = target.metrics_process.num_threads()
    foreign = status(ask(target.metrics_port, scrape.replace(b"localhost", b"evil.example")))
    scraped = f"a scrape: {status(answer)} after {seconds:.2f} s, with a foreign Host: {foreign}"
    return f"{threads} threads, {left} after 7 s; {scraped}"


ATTACKS: list[Callable[[Target], str]] = [
    from_a_page, unknown_keys, large_headers, trailers, pipelined, slow_connections, many_connections, frozen_postgres,
    frozen_kafka, metrics_server,
]  # fmt: skip


@contextmanager
def _stores(folder: Path) -> Iterator[tuple[KafkaServer, PostgresServer, dict[str, str]]]:
    """Kafka and PostgreSQL with a catalogue and a model; and the environment that names them."""
    with ExitStack() as stack:
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
        crown(dsn, make_bundle(folder / "m", "v1", items=FILMS, factors=32).manifest)
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "CLICKHOUSE_URL": "http://default:@127.0.0.1:9/default",
            "POSTGRES_DSN": dsn,
            "MODEL_DIR": str(folder / "m"),
            "ADMIN_API_KEY": "a-key-for-this-benchmark",
        }
        yield kafka, postgres, environment


@contextmanager
def _target(kafka: KafkaServer, postgres: PostgresServer, environment: dict[str, str], log: Path) -> Iterator[Target]:
    """The code that is imported here, as processes."""
    port, metrics_port = free_port(), free_port()
    with ExitStack() as stack:
        output = stack.enter_context(log.open("wb"))
        processes = []
        for argv in (["-m", "services.inference"], ["-c", METRICS_SERVER, str(metrics_port)]):
            process = subprocess.Popen(
                [sys.executable, "-P", *argv],
                env=os.environ | environment | {"INFERENCE_PORT": str(port)},
                stdout=output,
                stderr=output,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.send_signal, signal.SIGTERM)
            processes.append(psutil.Process(process.pid))
        deadline = time.monotonic() + 60
        while status(ask(port, LIST, timeout=2)) != "200":
            assert time.monotonic() < deadline, log.read_text()[-2_000:]
            time.sleep(0.2)
        yield Target(port, processes[0], postgres, kafka, metrics_port, processes[1])


def _attack(names: list[str]) -> dict[str, str]:
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with _stores(folder) as (kafka, postgres, environment):
            for attack in ATTACKS:
                if names and attack.__name__ not in names:
                    continue
                with _target(kafka, postgres, environment, folder / "log") as target:  # each meets fresh processes
                    results[attack.__name__] = attack(target)
                    print(f"  {attack.__name__}: {results[attack.__name__]}", file=sys.stderr, flush=True)
    return results


def main() -> int:
    """Attack the other checkout, if one is given, then this one; print both."""
    if "--one" in sys.argv:
        print(json.dumps(_attack(sys.argv[sys.argv.index("--one") + 1 :])))
        return 0
    checkouts = [Path(a).resolve() for a in sys.argv[1:] if Path(a).is_dir()]
    names = [a for a in sys.argv[1:] if not Path(a).is_dir()]
    results = {}
    for checkout in [*checkouts, ROOT]:
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        argv = [sys.executable, "-P", __file__, "--one", *names]
        print(f"== {checkout.name}", file=sys.stderr)
        done = subprocess.run(argv, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        results[checkout] = json.loads(done.stdout)
    for attack in ATTACKS:
        if attack.__name__ in results[ROOT]:
            print(f"\n{attack.__name__}: {(attack.__doc__ or '').strip()}")
            for checkout, found in results.items():
                print(f"  {'this' if checkout == ROOT else 'other':6}{found[attack.__name__]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Lists wait for no store: PostgreSQL is stopped or frozen while 60 clients at once ask for what needs it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.common.clickhouse import connect
from services.common.kafka import admin, describe_topic
from services.common.migrations import CLICKHOUSE_MIGRATIONS, migrate_clickhouse, read_migrations
from services.contracts.rest import ADMIN_KEY_HEADER
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer, PostgresServer

CLIENTS, SECONDS = 60, 8.0
LISTS = [
    "/v1/users/7/recommendations", "/v1/users/99/recommendations?genre=Comedy", "/v1/items/popular",
    "/v1/items/5/similar", "/v1/users/7/history", "/v1/items/5",
]  # fmt: skip
# In the first second it is still known that there is no such film.
RIGHT = {"GET items": {404, 503}, "POST events": {422, 503}, "GET users": {503}}


class Clients:
    """60 clients, each asking in turn for everything that needs PostgreSQL."""

    def __init__(self, address: str) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.slowest = (0.0, "")
        self._address = address
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self._address, timeout=30) as client:
            while not self._ended.is_set():
                for request in need_postgres(client, number):
                    start = time.monotonic()
                    answer = client.send(request)
                    self.slowest = max(self.slowest, (time.monotonic() - start, str(request.url)))
                    self.answers[f"{request.method} {request.url.path.split('/')[2]}", answer.status_code] += 1


def need_postgres(client: httpx.Client, number: int) -> list[httpx.Request]:
    unknown = 1_000_000 + number
    like = {"user_id": number + 1, "item_id": unknown, "action": "like"}
    return [
        client.build_request("GET", f"/v1/items/{unknown}"),
        client.build_request("GET", f"/v1/items/{unknown}/similar"),
        client.build_request("POST", "/v1/events", json=like),
        client.build_request("GET", "/v1/items", params={"query": f"film {number}"}),
        client.build_request("GET", "/v1/users/7/export", headers={ADMIN_KEY_HEADER: ADMIN_KEY}),
    ]


def seconds_of_lists(replica: Replica, during: float) -> list[float]:
    """How long each list took, sorted; a list that is lost fails the test."""
    seconds = []
    until = time.monotonic() + during
    while time.monotonic() < until:
        for path in LISTS:
            start = time.monotonic()
            assert replica.client.get(path, timeout=5).status_code == 200, path
            seconds.append(time.monotonic() - start)
    return sorted(seconds)


@pytest.fixture
def replica(
    kafka: KafkaServer,
    own_postgres: PostgresServer,
    clickhouse_database: str,
    topic: Callable[..., str],
    tmp_path: Path,
) -> Iterator[Replica]:
    """A replica that has served, on a PostgreSQL of its own."""
    dsn = own_postgres.dsn()
    prepare_catalogue(dsn)
    migrate_clickhouse(connect(SecretStr(clickhouse_database)), read_migrations(CLICKHOUSE_MIGRATIONS))
    events, impressions = topic(partitions=1), topic(partitions=1)
    identity = describe_topic(admin(kafka.bootstrap), events)
    models = tmp_path / "models"
    crown(dsn, make_bundle(models, topic_id=identity.topic_id, offsets={0: 0}).manifest)
    replica = Replica(kafka.bootstrap, dsn, clickhouse_database, models, events, impressions).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        assert replica.client.get("/v1/items", params={"query": "toy"}).status_code == 200
        yield replica
    finally:
        replica.stop()


@pytest.mark.serial
@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_with_postgresql_away_no_list_is_lost_whatever_else_is_asked_for(
    replica: Replica, own_postgres: PostgresServer, how: str
) -> None:
    own_postgres.stop() if how == "stopped" else own_postgres.freeze()
    try:
        with Clients(str(replica.client.base_url)) as clients:
            seconds = seconds_of_lists(replica, SECONDS)
        median, worst = seconds[len(seconds) // 2], seconds[-1]
        print(f"{how}: {len(seconds)} lists, median {median * 1e3:.0f} ms, worst {worst:.2f} s")
        print(f"others: {dict(clients.answers)}; the slowest {clients.slowest}")
        assert all(status in RIGHT[what] for what, status in clients.answers), clients.answers
        assert sum(count for (_, status), count in clients.answers.items() if status == 503) > CLIENTS
        assert median < 0.1
        assert seconds[len(seconds) * 99 // 100] < 1
        assert worst < 2.5
        assert clients.slowest[0] < 12
        assert replica.ready()

        assert replica.post({"user_id": 5, "item_id": 3, "action": "like"}).status_code == 202
        start = time.monotonic()
        for request in need_postgres(replica.client, 1):
            assert replica.client.send(request).status_code == 503
        assert time.monotonic() - start < 12
    finally:
        own_postgres.start() if how == "stopped" else own_postgres.thaw()
    search = {"query": "toy"}
    wait_until(lambda: replica.client.get("/v1/items", params=search).status_code == 200, "the search works again", 8)
    assert replica.client.get("/v1/items/1000000").status_code == 404
    assert replica.post({"user_id": 5, "item_id": 1_000_000, "action": "like"}).status_code == 422

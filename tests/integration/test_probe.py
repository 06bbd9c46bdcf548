"""The probe's process on real replicas: it measures them, leaves nothing liked, and outlives whatever they do."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.common.kafka import admin, describe_topic, end_offsets
from services.contracts.ids import PROBE_SOURCE, PROBE_USER
from tests.support.bundles import make_bundle
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.ports import free_port
from tests.support.processes import ServiceProcess
from tests.support.services import KafkaServer

NOWHERE = "http://default:@127.0.0.1:9/default"


class Probe:
    """``python -m services.probe``, and what it counts."""

    def __init__(self, urls: list[str], folder: Path, *, timeout_seconds: float = 10) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        environment = {
            "INFERENCE_URL": ",".join(urls),
            "PROBE_PORT": str(port),
            "PROBE_INTERVAL_SECONDS": "0.2",
            "PROBE_GRACE_SECONDS": "0",
            "PROBE_TIMEOUT_SECONDS": str(timeout_seconds),
        }
        argv = [sys.executable, "-m", "services.probe"]
        self.process = ServiceProcess("probe", argv, folder / "probe.log", env=environment)

    def start(self) -> "Probe":
        self.process.start().wait_ready(lambda: self.answers("/health"), 30)
        return self

    def answers(self, path: str) -> bool:
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).is_success
        except httpx.TransportError:
            return False

    def value(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics", timeout=5).text)
        (value,) = [s.value for f in families for s in f.samples if s.name == name and s.labels == labels]
        return float(value)

    def rounds(self, outcome: str) -> float:
        return self.value("like_probe_rounds_total", outcome=outcome)

    def wait_for(self, outcome: str, more: int = 2) -> None:
        """Wait until so many more rounds have ended so."""
        before = self.rounds(outcome)
        wait_until(lambda: self.rounds(outcome) >= before + more, f"{more} rounds are {outcome}", 30)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def replica(
    kafka: KafkaServer, postgres_database: str, topic: Callable[..., str], tmp_path: Path, stack: ExitStack
) -> Replica:
    events, impressions = topic(partitions=2), topic(partitions=1)
    prepare_catalogue(postgres_database)
    identity = describe_topic(admin(kafka.bootstrap), events)
    crown(postgres_database, make_bundle(tmp_path, "v1", topic_id=identity.topic_id, offsets={0: 0, 1: 0}).manifest)
    replica = Replica(kafka.bootstrap, postgres_database, NOWHERE, tmp_path, events, impressions).start()
    stack.callback(replica.stop)
    wait_until(replica.ready, "the replica is ready")
    return replica


def another(replica: Replica, events_topic: str) -> Replica:
    """Start a second replica, on the topic given."""
    second = replace(replica, events_topic=events_topic).start()
    wait_until(second.ready, "the second replica is ready")
    return second


def liked(replica: Replica) -> list[int]:
    entries = replica.client.get(f"/v1/users/{PROBE_USER}/history").json()["entries"]
    return [entry["item"]["id"] for entry in entries if entry["opinion"] == 1]


def test_it_measures_every_replica_takes_back_what_it_likes_and_outlives_one(
    replica: Replica, tmp_path: Path, stack: ExitStack
) -> None:
    # What a process that was killed in the middle of a round leaves.
    for item in (4, 5):
        replica.post({"user_id": PROBE_USER, "item_id": item, "action": "like", "source": PROBE_SOURCE})
    second = another(replica, replica.events_topic)
    try:
        probe = Probe([str(r.client.base_url) for r in (replica, second)], tmp_path).start()
        stack.callback(probe.process.close)
        probe.wait_for("ok", 5)
        measured = probe.value("like_to_list_seconds_count")
        assert measured >= 5
        assert 0 < probe.value("like_to_list_seconds_sum") / measured < 1
        assert [probe.rounds(o) for o in ("timeout", "refused", "unreachable")] == [0, 0, 0]
        for each in (replica, second):  # also the films of before
            wait_until(lambda each=each: liked(each) == [], "nothing is liked")  # type: ignore[misc]
        client = admin(replica.kafka)
        impressions = end_offsets(client, describe_topic(client, replica.impressions_topic))
        assert impressions == {0: 0}, "nobody saw these lists"
    finally:
        second.stop()

    probe.wait_for("unreachable")
    assert probe.answers("/health")
    assert probe.process.stop() == 0
    assert probe.process.log_file.read_text().count('"outcome": "unreachable"') == 1, "once, not every round"


def test_a_replica_that_follows_another_topic_is_a_timeout_and_no_measurement(
    replica: Replica, topic: Callable[..., str], tmp_path: Path, stack: ExitStack
) -> None:
    deaf = another(replica, topic(partitions=2))
    stack.callback(deaf.stop)
    probe = Probe([str(r.client.base_url) for r in (replica, deaf)], tmp_path, timeout_seconds=1.5).start()
    stack.callback(probe.process.close)
    probe.wait_for("timeout")
    assert (probe.rounds("ok"), probe.value("like_to_list_seconds_count")) == (0, 0)


def test_without_a_model_lists_are_refused_until_there_is_one(
    kafka: KafkaServer, postgres_database: str, topic: Callable[..., str], tmp_path: Path, stack: ExitStack
) -> None:
    events, impressions = topic(partitions=2), topic(partitions=1)
    prepare_catalogue(postgres_database)
    replica = Replica(kafka.bootstrap, postgres_database, NOWHERE, tmp_path, events, impressions).start()
    stack.callback(replica.stop)
    probe = Probe([str(replica.client.base_url)], tmp_path).start()
    stack.callback(probe.process.close)
    probe.wait_for("refused")
    crown(postgres_database, make_bundle(tmp_path).manifest)
    probe.wait_for("ok")

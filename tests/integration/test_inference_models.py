"""Which model is served: promotion, rollback, refusal of bad bundles; and that no like is ever lost in between."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.common.bundle import Bundle
from services.common.kafka import admin, describe_topic, end_offsets
from services.common.registry import register
from tests.support.bundles import T0, make_bundle
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer
from tests.support.swaps import swap_under_load

SWAPS = int(os.environ.get("SWAPS", "40"))


@pytest.fixture
def replica(kafka: KafkaServer, postgres_database: str, topic: Callable[..., str], tmp_path: Path) -> Iterator[Replica]:
    """A replica without any model yet."""
    prepare_catalogue(postgres_database)
    replica = Replica(
        kafka.bootstrap, postgres_database, "http://default:@127.0.0.1:9/default", tmp_path,
        topic(partitions=2), topic(partitions=1),
    ).start()  # fmt: skip
    try:
        yield replica
    finally:
        replica.stop()


def bundle_now(replica: Replica, version: str, **changes: Any) -> Bundle:
    """A bundle whose extract ends at the topic's head of this moment."""
    client = admin(replica.kafka)
    identity = describe_topic(client, replica.events_topic)
    heads = end_offsets(client, identity)
    return make_bundle(
        replica.model_dir, version, seed=sum(version.encode()), topic_id=identity.topic_id, offsets=heads, **changes
    )


def serve(replica: Replica, bundle: Bundle) -> None:
    crown(replica.postgres, bundle.manifest)
    wait_until(lambda: replica.services.store.current is not None and replica.version() == bundle.manifest.version, "")
    wait_until(replica.ready, "the replica is ready")


def test_without_a_model_it_is_alive_not_ready_and_serves_the_first_one_by_itself(replica: Replica) -> None:
    assert replica.client.get("/health/live").status_code == 200
    ready = replica.client.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["model"]) == (503, False)
    answer = replica.client.get("/v1/users/1/recommendations")
    assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
    assert replica.reload().status_code == 409
    wait_until(lambda: replica.post({"user_id": 5, "item_id": 1, "action": "like"}).status_code == 202, "events go in")

    serve(replica, make_bundle(replica.model_dir, "v1"))  # a bundle from before the topic existed

    assert replica.recommendations(5)[0] == "live"


def test_a_promotion_reaches_the_replica_by_itself(replica: Replica) -> None:
    serve(replica, bundle_now(replica, "v1"))
    crown(replica.postgres, bundle_now(replica, "v2").manifest)
    wait_until(lambda: replica.version() == "v2", "v2 is served", 3)


def test_a_promotion_that_was_missed_while_postgresql_was_away_is_noticed(replica: Replica) -> None:
    serve(replica, bundle_now(replica, "v1"))
    second = bundle_now(replica, "v2")
    with psycopg.connect(replica.postgres, autocommit=True) as connection:
        register(connection, second.manifest)
        # Promoted by hand, without any notification, then the listening connection breaks.
        connection.execute("UPDATE model_versions SET stage = 'archived' WHERE version = 'v1'")
        connection.execute("UPDATE model_versions SET stage = 'champion' WHERE version = 'v2'")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    wait_until(lambda: replica.version() == "v2", "v2 is served", 10)


def test_what_the_new_model_holds_leaves_memory_and_what_it_does_not_stays(replica: Replica) -> None:
    serve(replica, bundle_now(replica, "v1"))
    time = "2023-11-14T22:00:00Z"  # before T0, the time of the signals in the bundles
    replica.post({"user_id": 8, "item_id": 4, "action": "like", "event_time": time})
    replica.post({"user_id": 9, "item_id": 4, "action": "like"})
    assert len(replica.services.live) == 2
    assert T0 > 0
    serve(replica, bundle_now(replica, "v2", likes={8: [4]}))
    assert len(replica.services.live) == 1
    assert replica.recommendations(8)[0] == "trained"
    assert replica.recommendations(9)[0] == "live"


def test_a_rollback_reads_the_topic_again_so_that_no_like_vanishes(replica: Replica) -> None:
    first = bundle_now(replica, "v1", likes={})
    serve(replica, first)
    old = "2023-11-14T22:00:00Z"
    replica.post({"user_id": 8, "item_id": 4, "action": "like", "event_time": old})
    expected = replica.recommendations(8)
    serve(replica, bundle_now(replica, "v2", likes={8: [4]}))
    assert len(replica.services.live) == 0  # the like is in v2 alone now
    crown(replica.postgres, first.manifest)
    assert replica.reload().json()["version"] == "v1"
    assert replica.recommendations(8) == expected


def corrupt(path: Path) -> None:
    file = path / "models/als/item_factors.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def truncate(path: Path) -> None:
    file = path / "models/als/user_factors.npy"
    file.write_bytes(file.read_bytes()[:-8])


def half_written(path: Path) -> None:
    (path / "manifest.json").unlink()


def missing(path: Path) -> None:
    shutil.rmtree(path)


def torn_manifest(path: Path) -> None:
    file = path / "manifest.json"
    file.write_text(file.read_text()[:200])


@pytest.mark.parametrize("damage", [corrupt, truncate, half_written, missing, torn_manifest])
def test_a_damaged_bundle_is_refused_by_name_and_the_old_model_goes_on(
    replica: Replica, damage: Callable[[Path], None]
) -> None:
    serve(replica, bundle_now(replica, "v1"))
    expected = replica.recommendations(7)
    bad = bundle_now(replica, "v2")
    damage(bad.path)
    crown(replica.postgres, bad.manifest)
    answer = replica.reload()
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert "v2" in answer.json()["detail"]
    assert replica.version() == "v1"
    assert replica.recommendations(7) == expected
    ready = replica.client.get("/health/ready")
    assert (ready.status_code, "v2" in ready.json()["details"]["model_refused"]) == (200, True)
    assert 'model_reload_total{outcome="refused"}' in replica.client.get("/metrics").text


def test_a_bundle_whose_canary_does_not_come_out_is_refused(replica: Replica) -> None:
    serve(replica, bundle_now(replica, "v1"))
    crown(replica.postgres, bundle_now(replica, "v2", canary_ids=list(range(10, 20))).manifest)
    answer = replica.reload()
    assert answer.status_code == 409
    assert "canary" in answer.json()["detail"]
    assert replica.version() == "v1"


def test_models_swapped_under_load_fail_no_request_and_lose_no_like(replica: Replica) -> None:
    bundles = [bundle_now(replica, "v1"), bundle_now(replica, "v2")]
    serve(replica, bundles[0])
    report = swap_under_load(replica, [bundles[1], bundles[0]], SWAPS)
    assert report.wrong == []
    assert report.swaps == SWAPS
    assert set(report.versions) == {"v1", "v2"}


def test_a_versions_report_is_served_as_a_page_that_runs_nothing_or_as_text(replica: Replica) -> None:
    bundle = make_bundle(replica.model_dir, "v1")
    assert replica.client.get("/v1/models/v1/report").status_code == 404
    (bundle.path / "report.html").write_text("<h1>é</h1>", encoding="utf-8")
    (bundle.path / "report.md").write_text("# é", encoding="utf-8")
    page = replica.client.get("/v1/models/v1/report")
    assert (page.status_code, page.text) == (200, "<h1>é</h1>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none';")
    text = replica.client.get("/v1/models/v1/report", params={"format": "markdown"})
    assert (text.text, text.headers["content-type"]) == ("# é", "text/markdown; charset=utf-8")
    (replica.model_dir / "report.html").write_text("outside")
    for version in ("v2", "..", ".", "%2e%2e", "..%2f", "v1%2f..", ".v1", "x" * 200):
        answer = replica.client.get(f"/v1/models/{version}/report")
        assert answer.status_code in (404, 422), version
        assert answer.headers["content-type"] == "application/problem+json"
    assert replica.client.get("/v1/models/v1/report", params={"format": "pdf"}).status_code == 422

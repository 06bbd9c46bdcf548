"""The inference service on real Kafka and PostgreSQL: what viewers see, and that a like is seen at once."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Producer

from services.common.kafka import admin, describe_topic
from services.contracts.events import Event
from services.contracts.ids import PROBE_SOURCE, PROBE_USER
from services.contracts.impressions import Impression
from tests.support.bundles import make_bundle
from tests.support.inference import ADMIN_KEY, Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer

NOWHERE = "http://default:@127.0.0.1:9/default"


@pytest.fixture
def replica(kafka: KafkaServer, postgres_database: str, topic: Callable[..., str], tmp_path: Path) -> Iterator[Replica]:
    events, impressions = topic(partitions=2), topic(partitions=1)
    prepare_catalogue(postgres_database)
    identity = describe_topic(admin(kafka.bootstrap), events)
    bundle = make_bundle(tmp_path, "v1", topic_id=identity.topic_id, offsets={0: 0, 1: 0})
    crown(postgres_database, bundle.manifest)
    replica = Replica(kafka.bootstrap, postgres_database, NOWHERE, tmp_path, events, impressions).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        yield replica
    finally:
        replica.stop()


def test_a_like_makes_a_new_viewers_list_personal_in_the_very_next_answer(replica: Replica) -> None:
    before, popular = replica.recommendations(500)
    assert (before, popular[:3]) == ("popular", [1, 2, 3])

    assert replica.post({"user_id": 500, "item_id": 1, "action": "like"}).status_code == 202
    after, personal = replica.recommendations(500)
    assert after == "live"
    assert 1 not in personal
    assert personal != popular[1:]

    assert replica.post({"user_id": 500, "item_id": 1, "action": "unlike"}).status_code == 202
    assert replica.recommendations(500) == ("popular", popular)


def test_a_second_replica_sees_the_like_within_moments_and_a_third_from_the_topic_alone(
    replica: Replica, tmp_path: Path
) -> None:
    def another() -> Replica:
        return Replica(
            replica.kafka, replica.postgres, NOWHERE, tmp_path, replica.events_topic, replica.impressions_topic
        ).start()

    second = another()
    try:
        wait_until(second.ready, "the second replica is ready")
        delays = []
        for item in range(10, 30):
            assert replica.post({"user_id": 501, "item_id": item, "action": "like"}).status_code == 202
            start = time.monotonic()
            wait_until(lambda item=item: item not in second.recommendations(501)[1], "the like arrives", 5)  # type: ignore[misc]
            delays.append(time.monotonic() - start)
        assert sorted(delays)[-2] < 0.3
        expected = replica.recommendations(501)
        assert second.recommendations(501) == expected
    finally:
        second.stop()
    third = another()
    try:
        wait_until(third.ready, "the third replica is ready")
        assert third.recommendations(501) == expected
    finally:
        third.stop()


def test_times_that_clients_state_stand_whatever_the_order_and_the_replica(replica: Replica, tmp_path: Path) -> None:
    topics = (replica.events_topic, replica.impressions_topic)
    second = Replica(replica.kafka, replica.postgres, NOWHERE, tmp_path, *topics).start()
    now = datetime.now(timezone.utc)
    like = {"user_id": 502, "item_id": 10, "action": "like", "event_id": str(uuid4()), "event_time": now.isoformat()}
    yesterday = (now - timedelta(days=1)).isoformat()
    try:
        wait_until(second.ready, "the second replica is ready")
        for one, event in (
            (replica, like),
            (replica, {"user_id": 502, "item_id": 10, "action": "unlike"}),
            (second, like),
            (replica, like),
            (second, {"user_id": 502, "item_id": 11, "action": "dislike"}),
            (second, {"user_id": 502, "item_id": 11, "action": "like", "event_time": yesterday}),
        ):
            assert one.post(event).status_code == 202
        newest_first = [
            {"user_id": 502, "item_id": 12, "action": "rate", "value": 5.0 - days,
             "event_time": (now - timedelta(days=days)).isoformat()}
            for days in range(3)
        ]  # fmt: skip
        assert replica.post(*newest_first).status_code == 202

        def seen(one: Replica) -> dict[int, tuple[int | None, float | None]]:
            entries = one.client.get("/v1/users/502/history").json()["entries"]
            return {entry["item"]["id"]: (entry["opinion"], entry["rating"]) for entry in entries}

        expected = {10: (0, None), 11: (-1, None), 12: (None, 5.0)}
        wait_until(lambda: seen(replica) == seen(second) == expected, "both replicas know the same", 5)
    finally:
        second.stop()


def test_a_viewer_of_the_model_keeps_the_trained_factors_until_the_next_signal(replica: Replica) -> None:
    strategy, films = replica.recommendations(7)
    assert strategy == "trained"
    assert not {1, 2, 3} & set(films)
    replica.post({"user_id": 7, "item_id": 9, "action": "dislike"})
    strategy, films = replica.recommendations(7)
    assert strategy == "live"
    assert not {1, 2, 3, 9} & set(films)


def test_a_viewers_history_is_the_models_and_everything_since(replica: Replica) -> None:
    replica.post(
        {"user_id": 7, "item_id": 1, "action": "unlike"},
        {"user_id": 7, "item_id": 44, "action": "rate", "value": 3.5},
        {"user_id": 7, "item_id": 44, "action": "watch"},
    )
    history = replica.client.get("/v1/users/7/history").json()
    assert history["total"] == 4
    latest, unliked, *others = history["entries"]
    assert (latest["item"]["id"], latest["opinion"], latest["rating"], latest["watched"]) == (44, None, 3.5, True)
    assert (unliked["item"]["title"], unliked["opinion"], unliked["rating"]) == ("Toy Story", 0, None)
    assert {entry["item"]["id"] for entry in others} == {2, 3}
    assert len(replica.client.get("/v1/users/7/history", params={"limit": 1}).json()["entries"]) == 1


def test_events_are_on_the_topic_as_answered_keyed_by_viewer_with_the_trace(replica: Replica) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = {"traceparent": trace, "X-Request-Id": "mine-2"}
    body = {
        "events": [{"user_id": 9, "item_id": n, "action": a} for n, a in [(4, "like"), (4, "unlike"), (5, "watch")]]
    }
    accepted = replica.client.post("/v1/events", json=body, headers=headers).json()["accepted"]
    times = [entry["event_time"] for entry in accepted]
    assert times == sorted(set(times))

    stored = {}
    for message in read_all(replica.kafka, replica.events_topic, 3):
        event = Event.model_validate_json(message.value() or b"")
        stored[str(event.event_id)] = (event.item_id, event.action.value, message.partition(), message.offset())
        assert message.key() == b"9"
        assert message.headers() == [("traceparent", trace.encode()), ("x-request-id", b"mine-2")]
    assert stored == {
        e["event_id"]: (n, e["action"], e["partition"], e["offset"]) for e, n in zip(accepted, [4, 4, 5], strict=True)
    }


def test_every_served_list_is_an_impression(replica: Replica) -> None:
    answer = replica.client.get("/v1/users/7/recommendations", params={"k": 3}).json()
    (message,) = read_all(replica.kafka, replica.impressions_topic, 1)
    impression = Impression.model_validate_json(message.value() or b"")
    assert str(impression.request_id) == answer["request_id"]
    assert impression.item_ids == [item["id"] for item in answer["items"]]
    assert (impression.user_id, impression.strategy, impression.model_version) == (7, "trained", "v1")


def test_the_probe_gets_lists_and_likes_as_viewers_do_but_its_lists_are_no_impressions(replica: Replica) -> None:
    like = {"user_id": PROBE_USER, "item_id": 1, "action": "like", "source": PROBE_SOURCE}
    assert replica.recommendations(PROBE_USER)[0] == "popular"
    assert replica.post(like).status_code == 202
    strategy, films = replica.recommendations(PROBE_USER)
    assert (strategy, 1 in films) == ("live", False)

    replica.recommendations(7)  # the first that somebody sees
    (message,) = read_all(replica.kafka, replica.impressions_topic, 1)
    assert Impression.model_validate_json(message.value() or b"").user_id == 7
    assert lists_counted(replica) == 1


def test_rubbish_on_the_topic_is_counted_and_stops_nothing(replica: Replica) -> None:
    producer = Producer({"bootstrap.servers": replica.kafka})
    for value in (b"rubbish", b"", None, b'{"user_id": 1}'):
        producer.produce(replica.events_topic, value)
    producer.flush(10)
    replica.post({"user_id": 77, "item_id": 6, "action": "like"})
    wait_until(lambda: "live_history_skipped_total 4.0" in replica.client.get("/metrics").text, "all four are counted")
    assert replica.ready()
    assert replica.recommendations(77)[0] == "live"


@pytest.mark.parametrize(
    ("query", "first"),
    [("toy", 1), ("TOY STORY", 1), ("t", 1), ("toy stroy", 1), ("the matrix", 3), ("100%", 2), ("film number 17", 17)],
)
def test_search_finds_by_part_by_one_letter_and_with_typos(replica: Replica, query: str, first: int) -> None:
    items = replica.client.get("/v1/items", params={"query": query, "k": 5}).json()["items"]
    assert items[0]["id"] == first


def test_search_takes_wildcards_literally(replica: Replica) -> None:
    assert [i["id"] for i in replica.client.get("/v1/items", params={"query": "%"}).json()["items"]] == [2]
    assert replica.client.get("/v1/items", params={"query": "_"}).json()["items"] == []


def basis_of(replica: Replica, path: str) -> str:
    return str(replica.client.get(path).raise_for_status().json()["basis"])


def test_popular_and_similar_films(replica: Replica) -> None:
    def ids(path: str, **parameters: object) -> list[int]:
        answer = replica.client.get(path, params=parameters).raise_for_status().json()  # type: ignore[arg-type]
        return [item["id"] for item in answer["items"]]

    assert ids("/v1/items/popular", k=2) == [1, 2]
    assert ids("/v1/items/popular", k=2, recent=True) == [40, 39]
    assert ids("/v1/items/popular", k=2, genre="Comedy") == [2, 4]
    assert len(ids("/v1/items/5/similar", k=7)) == 7
    assert ids("/v1/items/42/similar", k=2) == [2, 4]  # a Comedy that the model does not know
    assert [basis_of(replica, path) for path in ("/v1/items/popular", "/v1/items/popular?recent=true")] == [
        "popular",
        "popular_recently",
    ]
    assert basis_of(replica, "/v1/items/5/similar") == "same_viewers"
    assert basis_of(replica, "/v1/items/42/similar") == "same_genres"
    comedies = replica.client.get("/v1/users/7/recommendations", params={"genre": "Comedy"}).json()["items"]
    assert {tuple(film["genres"]) for film in comedies} == {("Comedy",)}
    assert replica.client.get("/v1/items/1").json()["title"] == "Toy Story"


def test_a_film_that_is_new_in_the_catalogue_can_be_liked_without_a_reload(replica: Replica) -> None:
    import psycopg  # noqa: PLC0415

    assert replica.post({"user_id": 9, "item_id": 900, "action": "like"}).status_code == 422
    with psycopg.connect(replica.postgres) as connection:
        connection.execute("INSERT INTO items (item_id, title) VALUES (900, 'Brand New')")
    wait_until(
        lambda: replica.post({"user_id": 9, "item_id": 900, "action": "like"}).status_code == 202, "it is known", 15
    )


def test_request_ids_and_metrics_by_route(replica: Replica) -> None:
    answer = replica.client.get("/v1/users/7/recommendations", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert replica.client.get("/nope", headers={"X-Request-Id": "x y"}).json()["request_id"] != "x y"
    text = replica.client.get("/metrics").text
    assert 'route="/v1/users/{user_id}/recommendations",status="200"' in text
    assert 'route="unmatched",status="404"' in text
    assert 'model_info{stage="champion",version="v1"} 1.0' in text
    assert "/users/7" not in text
    assert ADMIN_KEY not in text


def lists_counted(replica: Replica) -> float:
    """The lists of all strategies."""
    lines = replica.client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("recommendations_served_total"))


def read_all(bootstrap: str, topic: str, count: int) -> list:  # type: ignore[type-arg]
    """The topic's first ``count`` messages."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"test-{topic}", "auto.offset.reset": "earliest",
         "enable.auto.commit": False}
    )  # fmt: skip
    consumer.subscribe([topic])
    messages: list = []  # type: ignore[type-arg]
    deadline = time.monotonic() + 20
    while len(messages) < count:
        assert time.monotonic() < deadline, f"{len(messages)} of {count} messages"
        messages += [m for m in consumer.consume(count, 0.2) if not m.error()]
    consumer.close()
    return messages

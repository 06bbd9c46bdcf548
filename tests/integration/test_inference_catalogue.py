"""The catalogue as the replicas see it: lists of films that exist, changes that are heard of at once, titles found."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from services.common.kafka import admin, describe_topic
from services.common.postgres import pool
from services.contracts.ids import ItemId
from services.importer.load import _upsert
from services.inference.catalogue.catalogue import _SEARCH, Catalogue
from services.inference.local_state import LocalState
from tests.support.bundles import make_bundle
from tests.support.inference import Replica, crown, prepare_catalogue, wait_until
from tests.support.services import KafkaServer

NOWHERE = "http://default:@127.0.0.1:9/default"
SOON = 2
"""Seconds: what is notified is seen by then; nothing that is looked for on a schedule would be."""


@pytest.fixture
def replica(kafka: KafkaServer, postgres_database: str, topic: Callable[..., str], tmp_path: Path) -> Iterator[Replica]:
    """A replica whose model knows films 1 to 40, of a catalogue of films 1 to 45."""
    events, impressions = topic(partitions=1), topic(partitions=1)
    prepare_catalogue(postgres_database)
    identity = describe_topic(admin(kafka.bootstrap), events)
    crown(postgres_database, make_bundle(tmp_path, topic_id=identity.topic_id, offsets={0: 0}).manifest)
    replica = Replica(kafka.bootstrap, postgres_database, NOWHERE, tmp_path, events, impressions).start()
    try:
        wait_until(replica.ready, "the replica is ready")
        yield replica
    finally:
        replica.stop()


def ids(replica: Replica, path: str, **parameters: object) -> list[int]:
    answer = replica.client.get(path, params=parameters).raise_for_status().json()  # type: ignore[arg-type]
    return [item["id"] for item in answer["items"]]


def run(replica: Replica, *statements: str) -> None:
    with psycopg.connect(replica.postgres) as connection:
        for statement in statements:
            connection.execute(statement.encode())


LISTS: list[tuple[str, dict[str, object]]] = [
    ("/v1/users/7/recommendations", {}),
    ("/v1/users/7/recommendations", {"genre": "Comedy"}),
    ("/v1/users/99/recommendations", {}),
    ("/v1/items/popular", {}),
    ("/v1/items/popular", {"genre": "Comedy"}),
    ("/v1/items/popular", {"recent": True}),
    ("/v1/items/6/similar", {}),
    ("/v1/items/43/similar", {}),
    ("/v1/items", {"query": "film number"}),
]


def test_no_list_names_a_film_that_left_the_catalogue_and_each_is_as_long_as_asked_for(replica: Replica) -> None:
    assert ids(replica, "/v1/items/popular", k=2) == [1, 2]
    gone = {1, 2, 4, 8, 16, 38, 39, 40}
    run(replica, f"DELETE FROM items WHERE item_id IN ({', '.join(map(str, gone))})")
    wait_until(lambda: ids(replica, "/v1/items/popular", k=1) == [3], "the films are gone", SOON)
    for path, parameters in LISTS:
        few, all_there_are = (ids(replica, path, k=k, **parameters) for k in (5, 100))
        assert len(few) == 5, (path, parameters)
        assert all_there_are[:5] == few
        assert not gone & set(all_there_are), (path, parameters)
        assert len(set(all_there_are)) == len(all_there_are)
    # 37 films are left; viewer 7 has seen film 3 of them, and no film is similar to itself.
    assert len(ids(replica, "/v1/users/99/recommendations", k=100)) == 37
    assert len(ids(replica, "/v1/users/7/recommendations", k=100)) == 36
    assert len(ids(replica, "/v1/items/popular", k=100, recent=True)) == 37
    for film in (6, 43):
        similar = ids(replica, f"/v1/items/{film}/similar", k=100)
        assert (len(similar), film in similar) == (36, False)


def test_every_film_of_a_list_can_be_opened_and_liked(replica: Replica) -> None:
    run(replica, "DELETE FROM items WHERE item_id = 2")
    wait_until(lambda: ids(replica, "/v1/items/popular", k=2) == [1, 3], "the film is gone", SOON)
    for film in ids(replica, "/v1/users/99/recommendations", k=100):
        assert replica.client.get(f"/v1/items/{film}").status_code == 200
        assert replica.post({"user_id": 99, "item_id": film, "action": "watch"}).status_code == 202
    assert ids(replica, "/v1/users/99/recommendations", k=100) == []


def test_what_a_viewer_said_about_a_film_that_is_gone_stays_in_their_history_and_says_so(replica: Replica) -> None:
    run(replica, "DELETE FROM items WHERE item_id = 2")
    wait_until(lambda: ids(replica, "/v1/items/popular", k=2) == [1, 3], "the film is gone", SOON)
    titles = {e["item"]["id"]: e["item"]["title"] for e in replica.client.get("/v1/users/7/history").json()["entries"]}
    assert titles == {1: "Toy Story", 2: "Film 2 (no longer in the catalogue)", 3: "Matrix, The"}


def test_genres_are_those_of_the_catalogue_not_of_the_models_day(replica: Replica) -> None:
    run(replica, "UPDATE items SET genres = '{Western}' WHERE item_id IN (5, 41)")
    western = "/v1/items/popular?genre=Western"
    wait_until(lambda: replica.client.get(western).status_code == 200, "there are Westerns", SOON)
    assert ids(replica, "/v1/items/popular", genre="Western") == [5, 41]
    assert 5 not in ids(replica, "/v1/items/popular", k=100, genre="Action")
    assert ids(replica, "/v1/users/7/recommendations", genre="Western") == [5, 41]
    assert ids(replica, "/v1/items/41/similar", k=1) == [5]
    run(replica, "UPDATE items SET genres = '{Western}'")
    wait_until(lambda: replica.client.get("/v1/items/popular?genre=Action").status_code == 422, "all are", SOON)
    assert len(ids(replica, "/v1/users/7/recommendations", k=100, genre="Western")) == 42


TITLES = {
    101: "Amélie",
    102: "Léon: The Professional (a.k.a. The Professional) (Léon)",
    103: "Große Stille, Die",
    104: "Kærlighed på film",
    105: "Smørrebrød",
    106: "Matrix, The",
    107: "Avventura, L' (a.k.a. Adventure, The)",
    108: "City of Lost Children, The (Cité des enfants perdus, La)",
    109: "Ame\u0301lie's Sister",  # a combining accent
    110: "Ｆｕｌｌ　Ｗｉｄｔｈ",
    111: "Œuvre de Łódź",
    112: "ΑΘΗΝΑ",
    113: "Matrix Reloaded, The",
    114: "A_b 50%",
    115: "Aab 500",
    116: "It’s a Wonderful Life",
}


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("Amelie", [101, 109]), ("amélie", [101, 109]), ("AME\u0301LIE", [101, 109]), ("Leon", [102]), ("LÉON", [102]),
        ("grosse stille", [103]), ("die große stille", [103]), ("Große Stille, Die", [103]), ("kaerlighed", [104]),
        ("pa film", [104]), ("smorrebrod", [105]), ("smørrebrød", [105]), ("the matrix", [106, 113]),
        ("Matrix, The", [106]), ("matrix", [106, 113]), ("l'avventura", [107]), ("L’Avventura", [107]),
        ("the adventure", [107]), ("la cite des enfants perdus", [108]), ("the city of lost children", [108]),
        ("full width", [110]), ("oeuvre de lodz", [111]), ("αθηνα", [112]), ("a_b", [114]), ("50%", [114]),
        ("grose stile", [103]), ("it's a wonderful", [116]),
    ],
)  # fmt: skip
def test_titles_are_found_without_accents_and_wherever_the_article_stands(
    catalogue: Catalogue, query: str, first: list[int]
) -> None:
    found = [item.id for item in catalogue.search(query, len(first))]
    assert found == first


def test_the_index_serves_the_search(catalogue: Catalogue) -> None:
    with catalogue._pool.connection(seconds=60) as connection:
        connection.execute(
            "INSERT INTO items (item_id, title) SELECT n, 'Título ' || md5(n::text) FROM generate_series(1000, 41000) n"
        )
        connection.execute("VACUUM ANALYZE items")
        values = {
            "query": "amelie",
            "starts": "amelie%",
            "starts_as_spoken": "%\namelie%",
            "contains": "%amelie%",
            "k": 5,
        }
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {_SEARCH}", values).fetchall())
    assert "items_search_text" in plan
    assert "Seq Scan" not in plan
    assert [item.id for item in catalogue.search("Amelie", 2)] == [101, 109]


def test_a_load_that_changes_no_film_has_no_replica_read_the_catalogue_again(postgres_database: str) -> None:
    prepare_catalogue(postgres_database)
    rows = [{"item_id": 1, "title": "Toy Story", "year": 1991, "genres": ["Action"]}]
    with psycopg.connect(postgres_database, autocommit=True) as connection:

        def upserted() -> int:
            with connection.transaction():
                _upsert(connection, "items", "item_id", rows)
            return int(connection.execute("SELECT version FROM catalogue_version").fetchone()[0])  # type: ignore[index]

        first = upserted()
        assert upserted() == first
        rows[0]["year"] = None
        assert upserted() > first
        assert connection.execute("SELECT year FROM items WHERE item_id = 1").fetchone() == (None,)
        connection.execute("DELETE FROM items WHERE item_id = 9999")
        assert upserted() == first + 1


def test_a_replica_that_starts_while_postgresql_is_away_has_the_films_of_its_last_run(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    catalogue.refresh()
    with pool(SecretStr("postgresql://movierecs@127.0.0.1:9/nowhere")) as nowhere:
        restarted = Catalogue(nowhere, LocalState(tmp_path))
        restarted.read_kept()
        with pytest.raises(psycopg.OperationalError):
            restarted.refresh()
        assert restarted.films is not None
        assert catalogue.films is not None
        assert restarted.films.items == catalogue.films.items
        restarted._pool = catalogue._pool  # PostgreSQL is back, and the films have changed since
        with catalogue._pool.connection() as connection:
            connection.execute("DELETE FROM items WHERE item_id = 101")
        restarted.refresh()
        assert restarted.get(ItemId(101)) is None
        restarted.close()


def test_films_are_read_only_when_they_have_changed(catalogue: Catalogue) -> None:
    catalogue.refresh()
    films = catalogue.films
    catalogue.refresh()
    assert catalogue.films is films
    with catalogue._pool.connection() as connection:
        connection.execute("UPDATE items SET title = 'Other' WHERE item_id = 101")
    catalogue.refresh()
    film = catalogue.get(ItemId(101))
    assert film is not None
    assert film.title == "Other"


@pytest.fixture
def catalogue(postgres_database: str, tmp_path: Path) -> Iterator[Catalogue]:
    """A catalogue with the films above, without a service around it."""
    prepare_catalogue(postgres_database)
    with psycopg.connect(postgres_database) as connection:
        for item, title in TITLES.items():
            connection.execute("INSERT INTO items (item_id, title) VALUES (%s, %s)", (item, title))
        connection.execute("DELETE FROM items WHERE item_id = 3")
    with pool(SecretStr(postgres_database)) as connections:
        made = Catalogue(connections, LocalState(tmp_path))
        yield made
        made.close()

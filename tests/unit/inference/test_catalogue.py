"""The films in memory and how they are looked up; integration tests cover search and real changes."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psycopg
import pytest

from services.contracts.ids import ItemId
from services.contracts.rest import Item
from services.inference.catalogue.catalogue import Catalogue
from services.inference.catalogue.films import Films
from services.inference.local_state import LocalState


class Database:
    """A stand-in for PostgreSQL with films and their version; look-ups block while `answers` is cleared."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str, int | None, list[str]]] = [(1, "One", 1995, ["Drama"]), (2, "Two", None, [])]
        self.version = 1
        self.look_ups = 0
        self.reads = 0
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()

    @contextmanager
    def connection(self, *, seconds: float = 3.0) -> Iterator[Any]:
        if self.error is not None:
            raise self.error
        yield self

    @contextmanager
    def transaction(self) -> Iterator[None]:
        yield

    def execute(self, statement: str) -> Any:
        if "title" in statement:
            self.reads += 1
        elif "version" in statement:
            self.look_ups += 1
            assert self.answers.wait(10)
        return SimpleNamespace(fetchall=lambda: self.rows, fetchone=lambda: (self.version,))

    def add(self, item_id: int) -> None:
        self.rows = [*self.rows, (item_id, f"Film {item_id}", 2000, [])]
        self.version += 1


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def catalogue(database: Database, tmp_path: Path) -> Iterator[Catalogue]:
    made = Catalogue(cast(Any, database), LocalState(tmp_path))
    yield made
    database.answers.set()
    made.close()


def unknown(catalogue: Catalogue, *item_ids: int) -> set[int]:
    return {int(i) for i in asyncio.run(catalogue.unknown(map(ItemId, item_ids)))}


def test_films_are_replaced_as_a_whole_and_only_when_they_have_changed(
    catalogue: Catalogue, database: Database
) -> None:
    catalogue.refresh()
    before = catalogue.films
    catalogue.refresh()
    assert (catalogue.films is before, database.reads) == (True, 1)
    database.add(3)
    catalogue.refresh()
    assert (len(catalogue), catalogue.get(ItemId(3))) == (3, Item(id=ItemId(3), title="Film 3", year=2000, genres=[]))
    assert before is not None
    assert ItemId(3) not in before.items, "holders of the old snapshot keep a consistent view"


def test_films_in_memory_are_known_without_a_look_up(catalogue: Catalogue, database: Database) -> None:
    catalogue.refresh()
    database.error = psycopg.OperationalError("away")
    assert unknown(catalogue, 1, 2) == set()


def test_a_film_added_since_the_last_read_is_found_by_a_look_up(catalogue: Catalogue, database: Database) -> None:
    database.add(3)
    assert unknown(catalogue, 3, 4) == {4}


def test_within_a_second_of_a_look_up_an_unknown_film_causes_no_other(catalogue: Catalogue, database: Database) -> None:
    assert unknown(catalogue, 4) == {4}
    look_ups = database.look_ups
    assert unknown(catalogue, 5) == {5}
    assert database.look_ups == look_ups


def test_whether_a_film_exists_is_never_guessed_while_postgresql_is_down(
    catalogue: Catalogue, database: Database
) -> None:
    database.error = psycopg.OperationalError("away")
    with pytest.raises(psycopg.OperationalError):
        unknown(catalogue, 4)


def test_concurrent_callers_share_one_look_up_of_a_frozen_postgresql_and_all_fail_in_time(
    catalogue: Catalogue, database: Database
) -> None:
    database.answers.clear()

    async def ask() -> list[Any]:
        asking = [catalogue.unknown([ItemId(100 + n)]) for n in range(60)]
        return await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 5)

    answers = asyncio.run(ask())
    assert {type(answer) for answer in answers} == {psycopg.OperationalError}
    assert database.look_ups == 1


def test_films_kept_on_disk_are_served_until_postgresql_answers(
    catalogue: Catalogue, database: Database, tmp_path: Path
) -> None:
    catalogue.refresh()
    database.add(3)
    restarted = Catalogue(cast(Any, database), LocalState(tmp_path))
    restarted.read_kept()
    assert len(restarted) == 2
    restarted.refresh()
    restarted.read_kept()
    assert len(restarted) == 3, "kept films never replace those read from PostgreSQL"
    restarted.close()


def test_genres_are_columns_in_order_of_name_and_a_removed_film_has_a_placeholder_title() -> None:
    films = Films(
        {
            ItemId(9): Item(id=ItemId(9), title="Nine", genres=["War", "Drama"]),
            ItemId(2): Item(id=ItemId(2), title="Two", genres=["Drama"]),
        },
        1,
    )
    assert films.ids.tolist() == [2, 9]
    assert films.genre_index == {"Drama": 0, "War": 1}
    assert np.array_equal(films.has_genre, [[True, False], [True, True]])
    assert films.named(ItemId(5)).title == "Film 5 (no longer in the catalogue)"

"""Files of ratings that land, on the real stores: stored once, refused as a whole, resumed after a crash."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from psycopg import Connection
from pydantic import SecretStr

from services.common import clickhouse, erasure, postgres
from services.common.migrations import (
    CLICKHOUSE_MIGRATIONS,
    POSTGRES_MIGRATIONS,
    migrate_clickhouse,
    migrate_postgres,
    read_migrations,
)
from services.contracts.ids import UserId
from services.importer import landing
from services.importer.file_store import note_rewritten
from services.importer.forget_files import forget_in_files
from services.importer.landing import EmptyCatalogueError, Imported, import_files
from tests.support.processes import ROOT, wait_until

FILMS = 50
NOW = datetime(2026, 11, 21, 3, tzinfo=timezone.utc)
START = datetime(2026, 11, 1, tzinfo=timezone.utc)
Rating = tuple[int, int, float]


@dataclass
class World:
    """Stores of this test's own with a catalogue, and a landing folder."""

    postgres_dsn: str
    clickhouse_url: str
    connection: Connection[Any]
    client: Client
    folder: Path

    def land(self, name: str, ratings: Iterable[Rating], extra: str = "") -> None:
        """Write a file as its sender should: under another name, then renamed. Rating n is of second n."""
        path = self.folder / f"{name}.part"
        lines = [f"{u},{i},{r},{(START + timedelta(seconds=n)).isoformat()}" for n, (u, i, r) in enumerate(ratings)]
        path.write_text("\n".join(["user_id,item_id,rating,timestamp", *lines, extra]) + "\n")
        path.rename(self.folder / name)

    def take_up(self) -> Imported:
        """Import in this process."""
        return import_files(self.folder, self.connection, self.client, NOW)

    def command(self) -> subprocess.Popen[str]:
        """Start ``import-files`` as the nightly run does."""
        environment = {
            **os.environ,
            "POSTGRES_DSN": self.postgres_dsn,
            "CLICKHOUSE_URL": self.clickhouse_url,
            "LANDING_DIR": str(self.folder),
        }
        argv = [sys.executable, "-m", "services.importer", "import-files"]
        return subprocess.Popen(argv, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def run(self, status: int = 0) -> dict[str, Any]:
        """Run ``import-files``; return its last line."""
        process = self.command()
        out, _ = process.communicate(timeout=120)
        assert process.returncode == status, out
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer

    def files(self) -> dict[str, list[str]]:
        """What is in which folder, without hidden files and the hash in the names."""
        return {
            place: sorted(
                path.name if place in (".", "incoming") else "".join((path.name[:1], *path.suffixes))
                for path in (self.folder / place).iterdir()
                if path.is_file() and not path.name.startswith(".")
            )
            for place in (".", "incoming", "processed", "failed")
        }

    def count(self, table: str, where: str = "1") -> int:
        """Return the number of rows, copies included."""
        return int(self.client.query(f"SELECT count() FROM {table} WHERE {where}").result_rows[0][0])


@pytest.fixture
def world(postgres_database: str, clickhouse_database: str, tmp_path: Path) -> Iterator[World]:
    client = clickhouse.connect(SecretStr(clickhouse_database))
    with postgres.connect(SecretStr(postgres_database)) as connection:
        migrate_postgres(connection, read_migrations(POSTGRES_MIGRATIONS))
        migrate_clickhouse(client, read_migrations(CLICKHOUSE_MIGRATIONS))
        connection.execute(
            "INSERT INTO items (item_id, title) SELECT n, 'Film ' || n FROM generate_series(1, %s) AS n", (FILMS,)
        )
        connection.commit()
        folder = tmp_path / "landing"
        folder.mkdir()
        yield World(postgres_database, clickhouse_database, connection, client, folder)
    client.close()


def ratings(count: int) -> list[Rating]:
    """Each viewer rates a film once."""
    return [(1 + n // FILMS, 1 + n % FILMS, 0.5 + n % 10 / 2) for n in range(count)]


def test_a_file_that_lands_is_stored_and_moves_on(world: World) -> None:
    world.land("a.csv", ratings(120))
    (world.folder / "b.csv.part").write_text("half a li")
    (world.folder / ".c.csv").write_text("half a li")
    answer = world.run()
    assert (answer["step"], answer["ratings"], len(answer["stored"])) == ("import-files", 120, 1)
    assert world.files() == {".": ["b.csv.part"], "incoming": [], "processed": ["a.csv"], "failed": []}
    stored = world.client.query(
        "SELECT user_id, item_id, value, event_time, action, source, epoch FROM events_v ORDER BY offset"
    ).result_rows
    assert stored == [
        (u, i, r, START.replace(tzinfo=None) + timedelta(seconds=n), "rate", "landing", 0)
        for n, (u, i, r) in enumerate(ratings(120))
    ]
    assert world.count("signals_v", "signal = 'rating'") == 120
    again = world.run()
    assert [again[key] for key in ("stored", "known", "refused", "ratings")] == [[], [], [], 0]


def test_the_same_content_adds_nothing_under_whatever_name(world: World) -> None:
    world.land("a.csv", ratings(10))
    world.take_up()
    for name in ("a.csv", "b.csv"):
        world.land(name, ratings(10))
    again = world.take_up()
    assert (len(again.known), again.stored, again.ratings) == (2, [], 0)
    assert world.count("events") == 10
    assert world.files()["processed"] == ["a.csv", "b.csv"]
    world.land("a.csv", ratings(11))
    assert world.take_up().ratings == 11, "the same name with other content is another file"
    assert world.files()["processed"] == ["a.csv", "a.csv", "b.csv"]
    assert world.count("signals_v") == 11


def test_a_file_with_a_bad_line_is_refused_as_a_whole_and_keeps_no_other_back(world: World) -> None:
    world.land("a.csv", ratings(10), extra="1,99,4,978300760\nx,1,4,978300760")
    world.land("b.csv", ratings(20))
    answer = world.run(status=5)
    assert answer["event"] == "1 of the files were refused; the reports are in failed/"
    assert (answer["ratings"], len(answer["stored"]), len(answer["refused"])) == (20, 1, 1)
    assert world.files() == {
        ".": [], "incoming": [], "processed": ["b.csv"], "failed": ["a.csv", "a.csv.errors.json"],
    }  # fmt: skip
    report = json.loads((world.folder / "failed" / f"{answer['refused'][0]}.errors.json").read_text())
    assert (report["file"], report["bad_lines"]) == ("a.csv", 2)
    assert [problem["line"] for problem in report["first_problems"]] == [12, 13]
    assert report["first_problems"][0]["reason"] == "item_id '99': not in the catalogue"
    assert world.count("events") == 20, "nothing of the bad file is stored"

    world.land("a.csv", ratings(10), extra="1,49,4,978300760")
    assert world.run()["ratings"] == 11


class BreakingClient:
    """Behaves as the client it wraps until the given insert, which lands without its reply."""

    def __init__(self, client: Client, breaks_at: int) -> None:
        self._client, self._left = client, breaks_at

    def insert_arrow(self, *args: Any, **kwargs: Any) -> None:
        self._client.insert_arrow(*args, **kwargs)
        self._left -= 1
        if self._left == 0:
            raise ConnectionError("the reply is lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_an_import_that_breaks_off_is_resumed_and_doubles_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.importer.text_file.BLOCK_BYTES", 400)
    monkeypatch.setattr("services.importer.file_store.INSERT_ROWS", 10)
    world.land("a.csv", ratings(35))
    world.land("b.csv", ratings(36))
    for breaks_at in (1, 3):
        breaking: Any = BreakingClient(world.client, breaks_at)
        with pytest.raises(ConnectionError):
            import_files(world.folder, world.connection, breaking, NOW)
        assert (world.files()["."], world.files()["incoming"]) == (["b.csv"], ["a.csv"])
    done = world.take_up()
    assert (len(done.stored), done.ratings) == (2, 71)
    assert world.count("events FINAL") == 71
    assert world.count("signals_v") == 36


def test_events_that_were_stored_without_their_signals_get_them(world: World) -> None:
    world.land("a.csv", ratings(10))
    world.take_up()
    # As a ClickHouse killed between the table and its view leaves it.
    world.client.command("TRUNCATE TABLE signals")
    world.connection.execute("DELETE FROM loaded_files")
    world.connection.commit()
    world.land("a.csv", ratings(10))
    assert world.take_up().ratings == 10
    assert world.count("events FINAL") == world.count("signals_v") == 10


def test_a_crash_between_storing_and_moving_leaves_only_the_move(world: World) -> None:
    world.land("a.csv", ratings(10))
    content = (world.folder / "a.csv").read_bytes()
    world.take_up()
    (world.folder / "incoming" / "a.csv").write_bytes(content)
    assert len(world.take_up().known) == 1
    assert world.count("events") == 10


def test_a_killed_import_is_resumed_by_the_next(world: World) -> None:
    count = 250_000
    world.land("a.csv", ratings(count))
    process = world.command()
    wait_until(lambda: world.count("events") > 0, 60, "the first block to be stored")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert world.files()["incoming"] == ["a.csv"]
    assert world.run()["ratings"] == count
    assert world.count("events FINAL") == count == world.count("signals_v")
    assert world.files() == {".": [], "incoming": [], "processed": ["a.csv"], "failed": []}


def test_two_imports_at_once_take_each_file_once(world: World) -> None:
    names = [f"{letter}.csv" for letter in "abcdefgh"]
    for number, name in enumerate(names, start=1):
        world.land(name, ratings(number))
    outcomes: list[Imported] = []

    def take_up() -> None:
        client = clickhouse.connect(SecretStr(world.clickhouse_url))
        with postgres.connect(SecretStr(world.postgres_dsn)) as connection:
            outcomes.append(import_files(world.folder, connection, client, NOW))
        client.close()

    threads = [threading.Thread(target=take_up) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 3
    assert sorted(name[0] for done in outcomes for name in done.stored) == list("abcdefgh")
    assert world.count("events") == sum(range(1, 9))


def test_a_landed_file_brings_no_erased_viewer_back(world: World) -> None:
    world.land("a.csv", ratings(2 * FILMS))
    erasure.erase(world.client, UserId(1))
    assert world.take_up().ratings == 2 * FILMS
    assert world.count("events", "user_id = 1") == world.count("signals", "user_id = 1") == 0
    assert world.count("events") == FILMS
    erasure.erase(world.client, UserId(2))
    world.land("b.csv", [*ratings(2 * FILMS), (3, 1, 4.0)])
    world.take_up()
    world.land("c.csv", [*ratings(2 * FILMS), (3, 1, 4.0)])
    assert len(world.take_up().known) == 1
    assert world.count("events") == 1


def test_a_file_without_an_erased_viewers_lines_adds_nothing_when_it_lands_again(world: World) -> None:
    world.land("a.csv", ratings(3 * FILMS))
    name = world.take_up().stored[0]
    for viewer in (1, 2):  # a rewritten file is rewritten once more
        erasure.erase(world.client, UserId(viewer))
        done = forget_in_files(world.folder, {UserId(1), UserId(viewer)}, partial(note_rewritten, world.connection))
        assert (done.rewritten, done.lines, done.left) == (1, FILMS, {})
        (world.folder / "again.csv").write_bytes((world.folder / "processed" / name).read_bytes())
        assert [len(world.take_up().known), world.count("events")] == [1, (3 - viewer) * FILMS]
        for copy in (world.folder / "processed").glob("again*"):
            copy.unlink()
    # ClickHouse is emptied: the content is stored under its own name then.
    world.client.command("TRUNCATE TABLE events")
    for expected in ("stored", "known"):
        (world.folder / "again.csv").write_bytes((world.folder / "processed" / name).read_bytes())
        assert len(getattr(world.take_up(), expected)) == 1
        assert world.count("events") == FILMS


def test_files_wait_for_a_catalogue(world: World) -> None:
    world.connection.execute("DELETE FROM items")
    world.connection.commit()
    assert world.take_up() == Imported(), "nothing waits, nothing is wrong"
    world.land("a.csv", ratings(1))
    with pytest.raises(EmptyCatalogueError):
        world.take_up()
    assert "the catalogue is empty" in world.run(status=4)["event"]
    world.connection.execute("INSERT INTO items (item_id, title) VALUES (1, 'Film 1')")
    world.connection.commit()
    assert world.take_up().ratings == 1


def test_names_may_be_long_or_not_utf8(world: World) -> None:
    names = [b"a" * 251 + b".csv", b"b\xff.csv"]
    for number, name in enumerate(names, start=1):
        world.land("file", ratings(number), extra="x" if number == 2 else "")
        (world.folder / "file").rename(world.folder / os.fsdecode(name))
    answer = world.run(status=5)
    assert (len(answer["stored"]), len(answer["refused"])) == (1, 1)
    assert world.files()["incoming"] == world.files()["."] == []


def test_no_odd_file_keeps_the_others_back(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(world.folder / "a pipe.csv")
    (world.folder / "b\nloop.csv").symlink_to("b\nloop.csv")
    (tmp_path / "elsewhere.csv").write_text("user_id,item_id,rating,timestamp\n1,1,4,978300760\n")
    (world.folder / "c link.csv").symlink_to(tmp_path / "elsewhere.csv")
    (world.folder / "d.csv").mkdir()
    (world.folder / "e.csv").write_bytes("user_id,item_id,rating,timestamp\n".encode("utf-16"))
    (world.folder / "f.csv").write_bytes(bytes(range(256)) * 50)
    (world.folder / "g.csv").write_text("")
    world.land("h not allowed.csv", ratings(5))
    world.land("i raises.csv", ratings(6))
    world.land("j vanishes.csv", ratings(7))
    world.land("z.csv", ratings(20))
    opened = landing.open_regular_file

    def open_or_fail(file: Path) -> Any:
        if file.name == "h not allowed.csv":
            raise PermissionError(13, "Permission denied")
        if file.name == "j vanishes.csv":
            file.unlink()
        return BadDisk() if file.name == "i raises.csv" else opened(file)

    monkeypatch.setattr(landing, "open_regular_file", open_or_fail)
    done = world.take_up()
    assert [(name[0], done.ratings) for name in done.stored] == [("z", 20)]
    assert sorted(name[0] for name in done.refused) == list("abcefghi")
    assert (done.left, done.known) == ([], [])
    assert sorted(path.name for path in world.folder.iterdir()) == ["d.csv", "failed", "incoming", "processed"]
    assert list((world.folder / "incoming").iterdir()) == []
    for name in done.refused:
        report = json.loads((world.folder / "failed" / f"{name}.errors.json").read_text())
        assert (report["bad_lines"], report["first_problems"][0]["line"]) == (1, 1)
    assert (tmp_path / "elsewhere.csv").exists()
    assert world.run()["refused"] == []


class BadDisk:
    """A file whose content makes the reader itself fail."""

    def __enter__(self) -> "BadDisk":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, _: int) -> int:
        raise RuntimeError("a fault of our own")


def test_a_file_that_cannot_be_moved_is_left_named_and_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / "incoming" / "a.csv").mkdir(parents=True)
    for number, name in enumerate("abcd", start=1):
        world.land(f"{name}.csv", ratings(number), extra="x" if name == "c" else "")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name in ("b.csv", "c.csv") and target.parent.name in ("processed", "failed"):
            raise PermissionError(1, "Operation not permitted")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    for stored in ([2, 4], []):
        done = world.take_up()
        assert (sorted(done.left), done.refused) == (["a.csv", "b.csv", "c.csv"], [])
        assert done.ratings == sum(stored)
    monkeypatch.undo()
    (world.folder / "incoming" / "a.csv").rmdir()
    done = world.take_up()
    assert (len(done.stored), len(done.known), len(done.refused), done.left) == (1, 1, 1, [])
    assert world.count("events") == 1 + 2 + 4


class ChangingClient(BreakingClient):
    """Changes the file during the first insert."""

    def __init__(self, client: Client, file: Path) -> None:
        super().__init__(client, breaks_at=-1)
        self._file = file

    def insert_arrow(self, *args: Any, **kwargs: Any) -> None:
        super().insert_arrow(*args, **kwargs)
        content = self._file.read_bytes()
        self._file.write_bytes(content.replace(b"4.5", b"9.9"))


def test_a_file_that_changes_after_it_was_checked_slips_no_row_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.importer.text_file.BLOCK_BYTES", 4096)
    monkeypatch.setattr("services.importer.file_store.INSERT_ROWS", 10)
    world.land("a.csv", ratings(5_000))
    world.land("b.csv", ratings(1))
    changing: Any = ChangingClient(world.client, world.folder / "incoming" / "a.csv")
    done = import_files(world.folder, world.connection, changing, NOW)
    assert (done.left, len(done.stored), world.files()["incoming"]) == (["a.csv"], 1, ["a.csv"])
    assert world.count("events", "value > 5") == 0
    assert len(world.take_up().refused) == 1


def test_repeated_rows_and_erased_viewers_are_left_out_and_counted(world: World) -> None:
    erasure.erase(world.client, UserId(2))
    lines = [f"{u},{i},4,978300760" for u, i in ((1, 1), (2, 1), (1, 1), (1, 2))]
    (world.folder / "a.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]))
    answer = world.run()
    assert (answer["ratings"], answer["duplicates"], answer["erased"]) == (3, 1, 1)
    assert world.count("events") == 2
    (world.folder / "a.csv").write_text("\n".join(["user_id,item_id,rating,timestamp", *lines]))
    assert len(world.run()["known"]) == 1

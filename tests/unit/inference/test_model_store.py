"""Which model is served, step by step; integration tests cover the real registry and topic."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from services.common.bundle import BundleError
from services.common.registry import Stage
from services.inference.history.topic_reader import ReplayError, StartingPoint
from services.inference.local_state import LocalState
from services.inference.metrics import Metrics
from services.inference.models.store import ModelStore, NoChampionError
from tests.support.bundles import CREATED, make_bundle


class World:
    """A model store; its registry, follower and live history are stand-ins that record calls in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.calls: list[tuple[str, str | None]] = []
        self.best: str | None = None
        self.error: Exception | None = None
        self.replay: ReplayError | None = None
        monkeypatch.setattr("services.inference.models.store.champion", lambda _connection: self._champion())
        self.store = self.restarted()

    def restarted(self) -> ModelStore:
        """A store as the next process on this machine creates it."""
        self.metrics = Metrics(CollectorRegistry())
        parts: dict[str, Any] = {
            "pool": SimpleNamespace(connection=self._connection),
            "catalogue": SimpleNamespace(
                refresh=lambda: self._record("films read"), read_kept=lambda: self._record("kept films read")
            ),
            "live": SimpleNamespace(prune=lambda held: self._record(f"pruned by {held.__self__.version}")),
            "follower": SimpleNamespace(
                cover=self._cover, uncover=lambda start: self._record(f"uncovered {_at(start)}")
            ),
        }
        self.store = ModelStore(
            self.folder, state=LocalState(self.folder / "state"), metrics=self.metrics, now=lambda: CREATED, **parts
        )
        return self.store

    def publish(self, version: str, first: int = 0) -> None:
        make_bundle(self.folder, version, topic_id="topic", offsets={0: first})
        self.best = version

    def reloads(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("model_reload_total", {"outcome": outcome})

    @contextmanager
    def _connection(self) -> Iterator[None]:
        if self.error is not None:
            raise self.error
        yield

    def _champion(self) -> Any:
        return None if self.best is None else SimpleNamespace(version=self.best, stage=Stage.CHAMPION)

    def _cover(self, start: StartingPoint) -> None:
        self._record(f"covered {_at(start)}")
        if self.replay is not None:
            raise self.replay

    def _record(self, what: str) -> None:
        current = self.store.current if hasattr(self, "store") else None
        self.calls.append((what, None if current is None else current.version))


def _at(start: StartingPoint) -> int:
    return start.offsets[0]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_history_is_covered_before_the_swap_and_pruned_after_it(world: World) -> None:
    world.publish("v1", 5)
    world.store.reload()
    world.publish("v2", 9)
    world.calls.clear()
    reloaded = world.store.reload()
    assert (reloaded.version, reloaded.previous, reloaded.changed) == ("v2", "v1", True)
    assert world.calls == [
        ("films read", "v1"),
        ("covered 9", "v1"),
        ("pruned by v2", "v2"),
        ("uncovered 9", "v2"),
    ]
    assert world.metrics.registry.get_sample_value("model_info", {"version": "v1", "stage": "champion"}) is None
    assert world.metrics.registry.get_sample_value("model_info", {"version": "v2", "stage": "champion"}) == 1


def test_a_champion_already_served_is_not_loaded_again(world: World) -> None:
    world.publish("v1")
    world.store.reload()
    served = world.store.current
    assert world.store.reload().changed is False
    assert world.store.current is served
    assert (world.reloads("swapped"), world.reloads("unchanged")) == (1, 1)


def test_before_the_first_promotion_nothing_is_served_and_the_films_are_read(world: World) -> None:
    with pytest.raises(NoChampionError):
        world.store.reload()
    assert world.store.current is None
    assert world.calls == [("films read", None)]


def test_a_refused_bundle_leaves_the_old_model_and_a_reason_until_the_next_one(world: World) -> None:
    world.publish("v1")
    world.store.reload()
    world.publish("v2")
    (world.folder / "v2" / "models" / "als" / "user_factors.npy").write_bytes(b"torn")
    with pytest.raises(BundleError):
        world.store.reload()
    assert world.store.current is not None
    assert world.store.current.version == "v1"
    assert "v2" in (world.store.refused or "")
    assert (world.reloads("refused"), world.store.is_replaying) == (1, False)
    world.publish("v3")
    world.store.reload()
    assert (world.store.current.version, world.store.refused) == ("v3", None)


def test_a_model_that_waits_for_the_topic_to_be_read_is_served_by_a_later_reload(world: World) -> None:
    world.publish("v1", 5)
    world.store.reload()
    world.publish("v0", 1)
    world.replay = ReplayError("being read")
    with pytest.raises(ReplayError):
        world.store.reload()
    assert world.store.current is not None
    assert (world.store.current.version, world.store.is_replaying, world.reloads("failed")) == ("v1", True, 1)
    assert ("pruned by v0", "v1") not in world.calls, "signals that are only in memory stay there"
    world.replay = None
    world.store.reload()
    assert (world.store.current.version, world.store.is_replaying) == ("v0", False)


def test_without_postgresql_a_replica_serves_the_last_served_model_and_then_the_champion(world: World) -> None:
    world.publish("v1")
    world.store.reload()
    world.publish("v2")
    restarted = world.restarted()
    world.error = psycopg.OperationalError("away")
    with pytest.raises(psycopg.OperationalError):
        restarted.reload()
    restarted.serve_kept()
    assert restarted.current is not None
    assert (restarted.current.version, restarted.current.stage) == ("v1", "champion")
    assert ("kept films read", None) in world.calls
    world.error = None
    restarted.reload()
    assert restarted.current.version == "v2"


def test_a_kept_model_is_not_served_if_one_is_served_already_or_its_bundle_is_gone(world: World) -> None:
    world.publish("v1")
    world.store.reload()
    served = world.store.current
    world.store.serve_kept()
    assert world.store.current is served
    (world.folder / "v1" / "manifest.json").unlink()
    restarted = world.restarted()
    restarted.serve_kept()
    assert restarted.current is None

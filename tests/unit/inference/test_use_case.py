"""The use case without a server: how requests are answered, counted and recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.common.bundle import BundleError, open_bundle, write_bundle
from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.contracts.impressions import Impression
from services.contracts.rest import Item, Strategy
from services.inference.catalogue.films import Films
from services.inference.history.live import LiveHistory
from services.inference.metrics import Metrics
from services.inference.models.served import ServedBundle, load_served
from services.inference.recommend.request import ListRequest, UnknownChoiceError
from services.inference.recommend.service import NoCatalogueError, NoModelError, Recommendations
from tests.support.bundles import CREATED, GENRES, make_bundle

KNOWN, STRANGER = UserId(7), UserId(99)
NOW = datetime(2026, 11, 1, tzinfo=timezone.utc)


@dataclass
class World:
    """The use case, what it reads, and the impressions that it recorded."""

    served: ServedBundle
    live: LiveHistory = field(default_factory=LiveHistory)
    recorded: list[tuple[Impression, Mapping[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        items = {ItemId(i): Item(id=ItemId(i), title=f"Film {i}", genres=[GENRES[(i + 1) % 2]]) for i in range(1, 41)}
        self.store = cast(Any, SimpleNamespace(current=self.served))
        self.catalogue = cast(Any, SimpleNamespace(films=Films(items, 1)))
        self.metrics = Metrics(CollectorRegistry())
        publisher: Any = SimpleNamespace(publish=lambda shown, headers: self.recorded.append((shown, headers)))
        self.lists = Recommendations(
            self.store, self.live, self.catalogue, impressions=publisher, metrics=self.metrics, now=lambda: NOW
        )

    def act(self, user: UserId, item: int, action: Action, n: int = 0) -> None:
        time = NOW + timedelta(seconds=n)
        self.live.apply(Event(user_id=user, item_id=ItemId(item), action=action, event_id=UUID(int=n), event_time=time))

    def films(self, request: ListRequest) -> list[int]:
        return [int(item.id) for item in self.lists.recommend(request).items]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(load_served(make_bundle(tmp_path), "champion", CREATED))


def test_a_list_is_recorded_as_it_was_shown_and_counted(world: World) -> None:
    answer = world.lists.recommend(ListRequest(KNOWN, 5, headers={"x-request-id": "mine"}))
    ((shown, headers),) = world.recorded
    assert (shown.request_id, shown.user_id, shown.served_at) == (answer.request_id, KNOWN, NOW)
    assert shown.item_ids == [item.id for item in answer.items]
    assert headers == {"x-request-id": "mine"}
    served = world.metrics.registry.get_sample_value(
        "recommendations_served_total", {"strategy": answer.strategy, "variant": answer.variant}
    )
    assert served == 1


def test_a_list_that_is_not_shown_is_neither_recorded_nor_counted(world: World) -> None:
    world.lists.recommend(ListRequest(KNOWN, 5, is_shown=False))
    assert world.recorded == []


def test_a_request_may_name_a_model_of_the_bundle(world: World) -> None:
    assert world.films(ListRequest(KNOWN, 3, model="popular")) == [4, 5, 6], "the most popular unseen films"
    assert world.films(ListRequest(KNOWN, 3, model="als")) == world.films(ListRequest(KNOWN, 3))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ListRequest(KNOWN, 3, model="ease"), "there is no model 'ease'; there are als, popular"),
        (ListRequest(KNOWN, 3, genre="Noir"), "there is no genre 'Noir'; there are Action, Comedy"),
    ],
)
def test_an_unknown_model_or_genre_is_refused_with_the_choices(
    world: World, request_: ListRequest, message: str
) -> None:
    with pytest.raises(UnknownChoiceError, match=message):
        world.lists.recommend(request_)
    assert world.recorded == []


def test_a_like_changes_the_next_list_and_an_unlike_changes_it_back(world: World) -> None:
    before = world.films(ListRequest(STRANGER, 10))
    world.act(STRANGER, before[0], Action.LIKE, 1)
    after = world.films(ListRequest(STRANGER, 10))
    assert before[0] not in after
    assert after != before[1:] + after[-1:]
    world.act(STRANGER, before[0], Action.UNLIKE, 2)
    assert world.films(ListRequest(STRANGER, 10)) == before


def test_a_new_bundle_is_used_from_the_next_request_on(world: World, tmp_path: Path) -> None:
    world.act(STRANGER, 1, Action.LIKE)
    first = world.lists.recommend(ListRequest(STRANGER, 10))
    world.store.current = load_served(make_bundle(tmp_path / "other", "v2", seed=9), "champion", CREATED)
    second = world.lists.recommend(ListRequest(STRANGER, 10))
    assert (first.model_version, second.model_version) == ("v1", "v2")
    assert [item.id for item in first.items] != [item.id for item in second.items]


def test_without_a_model_or_a_catalogue_it_says_which_is_missing(world: World) -> None:
    films, world.catalogue.films = world.catalogue.films, None
    with pytest.raises(NoCatalogueError):
        world.lists.popular(3)
    world.catalogue.films, world.store.current = films, None
    with pytest.raises(NoModelError):
        world.lists.recommend(ListRequest(KNOWN, 3))


actions = st.lists(
    st.tuples(st.integers(1, 45), st.sampled_from([a for a in Action if a is not Action.RATE])), max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    feedback=actions,
    k=st.integers(1, 50),
    genre=st.sampled_from([None, *GENRES]),
    model=st.sampled_from(["als", "popular"]),
)
def test_after_any_feedback_a_list_keeps_its_promises(
    world: World, feedback: list[tuple[int, Action]], k: int, genre: str | None, model: str
) -> None:
    alone, viewer = World(world.served), UserId(1_000)
    for n, (item, action) in enumerate(feedback):
        alone.act(viewer, item, action, n)
    request = ListRequest(viewer, k, genre, model)
    answer = alone.lists.recommend(request)
    films, scores = [int(item.id) for item in answer.items], [item.score for item in answer.items]
    history = alone.served.history(viewer, alone.live.of(viewer).slots)
    assert len(films) == len(set(films)) <= k
    assert not set(films) & set(history.item_ids[history.seen].tolist()), "seen"
    assert genre is None or all(genre in item.genres for item in answer.items)
    assert scores == sorted(scores, reverse=True)
    assert films == World(world.served, live=alone.live).films(request), "another replica"
    assert answer.model == model
    liked = any(weight > 0 for weight in history.weight[history.known])
    assert (answer.strategy in {Strategy.POPULAR, Strategy.POPULAR_FALLBACK}) is (model == "als" and not liked)


def test_history_is_in_order_of_time_and_has_a_trained_row_only_while_unchanged(world: World) -> None:
    assert world.served.history(KNOWN, {}).trained_row == 0
    for n, item in enumerate((30, 20, 44)):
        world.act(KNOWN, item, Action.LIKE, n)
    history = world.served.history(KNOWN, world.live.of(KNOWN).slots)
    assert history.item_ids.tolist()[-3:] == [30, 20, 44]
    assert history.known.tolist()[-3:] == [True, True, False]
    assert history.trained_row is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_factors": None}, "item_factors is missing"),
        ({"item_factors": lambda a: a * float("nan")}, "item_factors has values that are not finite"),
        ({"item_factors": lambda a: a.astype("float64")}, "item_factors must be float32 with 2 dimensions"),
        ({"user_factors": lambda a: a[:1]}, "are not for 40 items and 2 users"),
        ({"item_factors": lambda a: a[:, :4]}, "are not for 40 items and 2 users"),
    ],
)
def test_arrays_that_do_not_fit_the_kind_are_refused_naming_the_model(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    bundle = make_bundle(tmp_path)
    als = dict(bundle.models["als"])
    for name, how in change.items():
        old = als.pop(name)
        if how is not None:
            als[name] = how(old)
    manifest = bundle.manifest.model_copy(update={"version": "v2"})
    path = write_bundle(tmp_path, manifest, bundle.arrays, {"als": als, "popular": {}})
    with pytest.raises(BundleError, match=f"^v2: model als: .*{message}"):
        load_served(open_bundle(path), "champion", CREATED)


def test_a_model_that_gives_scores_of_another_shape_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "services.models.kinds.popular.Popular.score", lambda self, history: cast(Any, self)._counts[:-1]
    )
    with pytest.raises(BundleError, match="v1: model popular does not give a finite score for each of its films"):
        load_served(replace(world.served.bundle), "champion", CREATED)

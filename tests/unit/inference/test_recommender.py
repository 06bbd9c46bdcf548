"""What a viewer is shown: by strategy, with what they have seen left out."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Strategy
from services.contracts.signals import EPOCH
from services.inference.model import Model, load_model
from services.inference.recommender import Taste, popular, rank, similar, similar_by_genre, taste_of, whole_history
from services.inference.stamps import Slots, merge, slot_and_version
from tests.support.bundles import CREATED, T0, make_bundle

KNOWN, UNKNOWN = UserId(7), UserId(99)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(make_bundle(tmp_path), "champion", CREATED)


def slots(*signals: tuple[int, Action], time: int = T0 + 1, value: float | None = None) -> Slots:
    result: Slots = {}
    for number, (item, action) in enumerate(signals):
        event = Event(
            user_id=KNOWN,
            item_id=ItemId(item),
            action=action,
            value=value,
            event_id=UUID(int=number),
            event_time=EPOCH + timedelta(microseconds=time + number),
        )
        merge(result, *slot_and_version(event))
    return result


def shown(model: Model, taste: Taste, k: int = 100) -> list[int]:
    return [int(i) for i in model.item_ids[rank(model, taste, k).indices]]


def test_an_unchanged_viewer_is_ranked_by_the_trained_factors_without_the_seen_films(model: Model) -> None:
    taste = taste_of(model, KNOWN, {})
    scores = model.item_factors @ model.user_factors[0]
    expected = [int(i) + 1 for i in np.argsort(-scores) if i + 1 not in (1, 2, 3)]
    assert taste.strategy is Strategy.IALS
    assert shown(model, taste) == expected
    assert shown(model, taste, 10) == expected[:10]


def test_a_new_like_is_folded_in_with_the_whole_history_and_leaves_the_list(model: Model) -> None:
    taste = taste_of(model, KNOWN, slots((20, Action.LIKE)))
    everything_live = taste_of(model, UNKNOWN, slots(*((i, Action.LIKE) for i in (1, 2, 3, 20))))
    assert taste.strategy is Strategy.IALS_FOLD_IN
    assert taste.factors is not None
    assert everything_live.factors is not None
    np.testing.assert_allclose(taste.factors, everything_live.factors, rtol=1e-4, atol=1e-6)
    assert not {1, 2, 3, 20} & set(shown(model, taste))
    assert len(shown(model, taste)) == 36


def test_a_signal_older_than_the_bundles_changes_nothing(model: Model) -> None:
    taste = taste_of(model, KNOWN, slots((1, Action.UNLIKE), time=T0 - 10))
    assert taste.strategy is Strategy.IALS
    assert 1 not in shown(model, taste)


def test_an_unliked_film_may_come_back_but_a_rated_or_watched_one_may_not(model: Model) -> None:
    assert 1 in shown(model, taste_of(model, KNOWN, slots((1, Action.UNLIKE))))
    assert 1 not in shown(model, taste_of(model, KNOWN, slots((1, Action.UNLIKE), (1, Action.WATCH))))
    rated = slots((1, Action.RATE), value=3.0) | slots((1, Action.UNLIKE))
    assert 1 not in shown(model, taste_of(model, KNOWN, rated))


def test_a_viewer_nobody_knows_gets_popular_films(model: Model) -> None:
    taste = taste_of(model, UNKNOWN, {})
    assert taste.strategy is Strategy.POPULAR
    assert shown(model, taste, 3) == [1, 2, 3]


def test_dislikes_alone_say_what_to_leave_out_not_what_to_show(model: Model) -> None:
    taste = taste_of(model, UNKNOWN, slots((1, Action.DISLIKE), (3, Action.DISLIKE)))
    assert taste.strategy is Strategy.POPULAR
    assert shown(model, taste, 3) == [2, 4, 5]


def test_a_like_of_a_film_that_the_model_does_not_know_is_kept_but_gives_no_taste(model: Model) -> None:
    live = slots((4_000, Action.LIKE))
    taste = taste_of(model, UNKNOWN, live)
    assert taste.strategy is Strategy.POPULAR_FALLBACK
    assert shown(model, taste, 3) == [1, 2, 3]
    history, changed = whole_history(model, UNKNOWN, live)
    assert changed
    assert history.item_ids.tolist() == [4_000]


def test_a_dislike_of_a_film_that_the_model_does_not_know_is_no_reason_for_a_fallback(model: Model) -> None:
    assert taste_of(model, UNKNOWN, slots((4_000, Action.DISLIKE))).strategy is Strategy.POPULAR


def test_a_genre_keeps_only_its_films(model: Model) -> None:
    comedies = model.item_ids[rank(model, taste_of(model, KNOWN, {}), 100, genre=1).indices]
    assert all(i % 2 == 0 for i in comedies)
    assert len(comedies) == 19
    assert model.item_ids[popular(model, 2, genre=1).indices].tolist() == [2, 4]
    assert model.item_ids[popular(model, 2, genre=1, recent=True).indices].tolist() == [40, 38]


def test_similar_films_are_ordered_by_the_cosine_and_leave_out_the_film_itself(model: Model) -> None:
    ranked = similar(model, 4, 39)
    factors = model.item_factors.astype(float)
    cosine = factors @ factors[4] / (np.linalg.norm(factors, axis=1) * np.linalg.norm(factors[4]))
    np.testing.assert_allclose(ranked.scores, cosine[ranked.indices], atol=1e-5)
    assert 4 not in ranked.indices
    assert bool(np.all(np.diff(ranked.scores) <= 0))


def test_films_like_an_unknown_one_share_its_genres_and_are_popular(model: Model) -> None:
    assert model.item_ids[similar_by_genre(model, ["Comedy"], 2).indices].tolist() == [2, 4]
    assert model.item_ids[similar_by_genre(model, ["Western"], 2).indices].tolist() == [1, 2]

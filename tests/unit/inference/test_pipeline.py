"""What a viewer is shown: by strategy, without the films already seen."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from services.contracts.events import Action, Event
from services.contracts.ids import ItemId, UserId
from services.contracts.rest import Item, Strategy
from services.contracts.signals import EPOCH
from services.inference.history.stamps import Slots, merge, slot_and_version
from services.inference.models.served import ServedBundle, load_served
from services.inference.recommend.pipeline import Ranked, already_seen, best, popular, score, similar
from services.inference.recommend.shelf import Shelf
from services.models.base import History
from tests.support.bundles import CREATED, T0, make_bundle
from tests.support.shelves import shelf

KNOWN, UNKNOWN = UserId(7), UserId(99)


@pytest.fixture
def model(tmp_path: Path) -> ServedBundle:
    return load_served(make_bundle(tmp_path), "champion", CREATED)


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


def of(shelf: Shelf, ranked: Ranked) -> list[int]:
    return [int(i) for i in shelf.item_ids[ranked.indices]]


def nearest(shelf: Shelf, item: int, genres: list[str], k: int) -> Ranked:
    return similar(shelf, Item(id=ItemId(item), title="", genres=genres), k)[0]


def rank(films: Shelf, history: History, k: int, genre: int | None = None) -> Ranked:
    return best(films, score(films.served, history, "als").scores, k, left_out=already_seen(history), genre=genre)


def shown(model: ServedBundle, history: History, k: int = 100) -> list[int]:
    return of(shelf(model), rank(shelf(model), history, k))


def strategy(model: ServedBundle, history: History) -> Strategy:
    return score(model, history, "als").strategy


def test_an_unchanged_viewer_is_ranked_by_the_trained_factors_without_the_seen_films(model: ServedBundle) -> None:
    history = model.history(KNOWN, {})
    als = model.bundle.models["als"]
    scores = als["item_factors"] @ als["user_factors"][0]
    expected = [int(i) + 1 for i in np.argsort(-scores) if i + 1 not in (1, 2, 3)]
    assert strategy(model, history) is Strategy.TRAINED
    assert shown(model, history) == expected
    assert shown(model, history, 10) == expected[:10]


def test_a_new_like_is_folded_in_with_the_whole_history_and_leaves_the_list(model: ServedBundle) -> None:
    history = model.history(KNOWN, slots((20, Action.LIKE)))
    everything_live = model.history(UNKNOWN, slots(*((i, Action.LIKE) for i in (1, 2, 3, 20))))
    assert strategy(model, history) is Strategy.LIVE
    np.testing.assert_allclose(
        score(model, history, "als").scores, score(model, everything_live, "als").scores, rtol=1e-4, atol=1e-6
    )
    assert not {1, 2, 3, 20} & set(shown(model, history))
    assert len(shown(model, history)) == 36


def test_a_signal_older_than_the_bundles_changes_nothing(model: ServedBundle) -> None:
    history = model.history(KNOWN, slots((1, Action.UNLIKE), time=T0 - 10))
    assert strategy(model, history) is Strategy.TRAINED
    assert 1 not in shown(model, history)


def test_an_unliked_film_may_come_back_but_a_rated_or_watched_one_may_not(model: ServedBundle) -> None:
    assert 1 in shown(model, model.history(KNOWN, slots((1, Action.UNLIKE))))
    assert 1 not in shown(model, model.history(KNOWN, slots((1, Action.UNLIKE), (1, Action.WATCH))))
    rated = slots((1, Action.RATE), value=3.0) | slots((1, Action.UNLIKE))
    assert 1 not in shown(model, model.history(KNOWN, rated))


def test_an_unknown_viewer_gets_popular_films(model: ServedBundle) -> None:
    history = model.history(UNKNOWN, {})
    assert strategy(model, history) is Strategy.POPULAR
    assert shown(model, history, 3) == [1, 2, 3]


def test_dislikes_alone_say_what_to_leave_out_not_what_to_show(model: ServedBundle) -> None:
    history = model.history(UNKNOWN, slots((1, Action.DISLIKE), (3, Action.DISLIKE)))
    assert strategy(model, history) is Strategy.POPULAR
    assert shown(model, history, 3) == [2, 4, 5]


def test_a_like_of_a_film_unknown_to_the_model_is_kept_and_the_list_is_a_fallback(model: ServedBundle) -> None:
    live = slots((4_000, Action.LIKE))
    history = model.history(UNKNOWN, live)
    assert strategy(model, history) is Strategy.POPULAR_FALLBACK
    assert shown(model, history, 3) == [1, 2, 3]
    signals, changed = model.signals(UNKNOWN, live)
    assert changed
    assert signals.item_ids.tolist() == [4_000]


def test_after_a_dislike_of_a_film_unknown_to_the_model_the_list_is_not_a_fallback(model: ServedBundle) -> None:
    assert strategy(model, model.history(UNKNOWN, slots((4_000, Action.DISLIKE)))) is Strategy.POPULAR


def test_a_genre_filter_keeps_only_its_films(model: ServedBundle) -> None:
    films = shelf(model)
    comedies = of(films, rank(films, model.history(KNOWN, {}), 100, genre=1))
    assert all(i % 2 == 0 for i in comedies)
    assert len(comedies) == 19
    assert of(films, popular(films, 2, genre=1)) == [2, 4]
    assert of(films, popular(films, 2, genre=1, recent=True)) == [40, 38]


def test_a_film_that_left_the_catalogue_is_in_no_list_and_another_takes_its_place(model: ServedBundle) -> None:
    films = shelf(model, gone={1, 40})
    assert of(films, popular(films, 3)) == [2, 3, 4]
    assert of(films, popular(films, 3, recent=True)) == [39, 38, 37]
    assert of(films, popular(films, 2, genre=0)) == [3, 5]
    everything = of(shelf(model), nearest(shelf(model), 5, ["Action"], 100))
    assert of(films, nearest(films, 5, ["Action"], 100)) == [i for i in everything if i not in (1, 40)]
    assert of(films, nearest(films, 999, ["Action"], 2)) == [3, 5]
    for history in (model.history(KNOWN, {}), model.history(KNOWN, slots((20, Action.LIKE)))):
        without = [i for i in shown(model, history) if i not in (1, 40)]
        assert of(films, rank(films, history, 100)) == without
        assert of(films, rank(films, history, 3)) == without[:3]


def test_films_unknown_to_the_model_fill_up_a_list_by_id_and_scores_still_descend(model: ServedBundle) -> None:
    films = shelf(model, new=3)
    last = rank(films, model.history(KNOWN, slots((42, Action.DISLIKE))), 100)
    assert of(films, last)[-2:] == [41, 43]  # 42 is seen
    assert len(of(films, last)) == 39
    assert last.scores[-1] == min(0, last.scores[-3])
    assert bool(np.all(np.diff(last.scores) <= 0))
    ranked = popular(films, 42)
    assert of(films, ranked)[-3:] == [40, 41, 42]
    assert ranked.scores[-3:].tolist() == [1, 0, 0]
    assert of(films, popular(films, 100, genre=1))[-1] == 42
    assert of(films, nearest(films, 41, ["Action"], 100)).count(41) == 0
    assert len(of(films, nearest(films, 41, ["Action"], 100))) == 42


def test_genres_are_those_of_the_current_catalogue(model: ServedBundle) -> None:
    films = shelf(model, genres={1: "Western", 2: "Western"})
    assert films.films.genre_index == {"Action": 0, "Comedy": 1, "Western": 2}
    assert of(films, popular(films, 9, genre=2)) == [1, 2]
    assert of(films, popular(films, 2, genre=0)) == [3, 5]


def test_an_empty_catalogue_gives_empty_lists(model: ServedBundle) -> None:
    films = shelf(model, gone=set(range(1, 41)))
    assert of(films, rank(films, model.history(KNOWN, {}), 10)) == []
    assert of(films, popular(films, 10, recent=True)) == []


def test_similar_films_are_ordered_by_the_cosine_and_leave_out_the_film_itself(model: ServedBundle) -> None:
    ranked = nearest(shelf(model), 5, [], 39)
    factors = model.bundle.models["als"]["item_factors"].astype(float)
    cosine = factors @ factors[4] / (np.linalg.norm(factors, axis=1) * np.linalg.norm(factors[4]))
    np.testing.assert_allclose(ranked.scores, cosine[ranked.indices], atol=1e-5)
    assert 4 not in ranked.indices
    assert bool(np.all(np.diff(ranked.scores) <= 0))


def test_films_similar_to_an_unknown_one_share_its_genres_most_popular_first(model: ServedBundle) -> None:
    films = shelf(model)
    assert of(films, nearest(films, 999, ["Comedy"], 2)) == [2, 4]
    assert of(films, nearest(films, 999, ["Western"], 2)) == [1, 2]
    assert of(films, nearest(films, 999, ["Comedy"], 100))[:21] == [*range(2, 41, 2), 1]

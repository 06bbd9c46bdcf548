"""Recent popularity, computed by hand: likes of five films at known ages, windows of 7 days, 28 days and all time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import ConfidenceParameters
from services.inference.models.recency import recency_of

DAY = 86_400_000_000
NOW = 1_000 * DAY


def arrays(*likes: tuple[int, int], films: int, recent: list[int] | None = None) -> dict[str, NDArray[Any]]:
    """A bundle's arrays; each like is given as (film, age in days)."""
    rows = len(likes)
    item, age = (
        (np.array(column, np.int64) for column in zip(*likes, strict=True)) if likes else (np.zeros(0, int),) * 2
    )
    versions = np.zeros((rows, 3, 2), np.uint64)
    versions[:, 0, 0] = NOW - age * DAY
    counted = [int(np.sum((item == film) & (age <= 7))) for film in range(1, films + 1)]
    return {
        "item_ids": np.arange(1, films + 1),
        "popularity": np.bincount(item, minlength=films + 1)[1:].astype(np.float32),
        "popularity_recent": np.array(counted if recent is None else recent, np.float32),
        "history_item_ids": item,
        "history_opinion": np.ones(rows, np.int8),
        "history_rating": np.full(rows, np.nan, np.float32),
        "history_watched": np.zeros(rows, np.uint8),
        "history_versions": versions,
    }


def order(given: dict[str, NDArray[Any]]) -> tuple[list[int], list[float]]:
    recency = recency_of(given, 7, ConfidenceParameters())
    best_first = np.argsort(-recency.order, kind="stable")
    return [int(i) + 1 for i in best_first], [round(float(s), 3) for s in recency.scores[best_first]]


def test_after_recently_liked_films_come_those_of_increasingly_long_windows() -> None:
    # Film 1: three likes long ago. 2: one like 20 days ago. 3: two likes 25 days ago. 4: one like today. 5: none.
    given = arrays((1, 900), (1, 900), (1, 900), (2, 20), (3, 25), (3, 25), (4, 0), films=5)
    films, scores = order(given)
    assert films == [4, 3, 2, 1, 5]
    assert scores[0] == 1  # the number of likes
    assert scores[-1] == 0  # never liked
    assert 1 > scores[1] > scores[2] > scores[3] > 0


def test_films_with_equally_many_recent_likes_are_ordered_by_popularity() -> None:
    given = arrays((1, 0), (2, 0), (2, 300), (3, 0), (3, 300), (3, 300), films=3)
    assert order(given) == ([3, 2, 1], [1.0, 1.0, 1.0])


def test_with_an_empty_recent_window_the_longer_ones_give_the_order() -> None:
    given = arrays((1, 100), (2, 8), (3, 9), (3, 9), films=3, recent=[0, 0, 0])
    films, scores = order(given)
    assert films == [3, 2, 1]
    assert 1 > scores[0] > scores[1] > scores[2] > 0


def test_a_bundle_without_a_history_or_without_films_works() -> None:
    assert order(arrays(films=3, recent=[0, 2, 0])) == ([2, 1, 3], [2.0, 0.0, 0.0])
    assert order(arrays(films=0)) == ([], [])


def test_only_likes_of_films_in_the_model_count() -> None:
    given = arrays((4, 0), (1, 10), (2, 10), (3, 600), (9, 5), films=4)
    given["popularity"] = np.array([1, 5, 1, 1], np.float32)
    given["history_opinion"][2] = -1  # a like would put film 2 before film 1
    assert order(given)[0] == [4, 1, 2, 3]

"""The stages of a list, from a viewer's history to ranked films. Pure functions, called by `recommend.service`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.rest import Basis, Item, Strategy
from services.inference.models.served import ServedBundle
from services.inference.recommend.shelf import Shelf
from services.models.base import Floats, History, Indices
from services.models.ranking import top_k


@dataclass(frozen=True)
class Scored:
    """Scores of a model or of the fallback for the bundle's n films."""

    scores: Floats
    """(n,)"""
    strategy: Strategy


@dataclass(frozen=True)
class LeftOut:
    """Films that must not appear."""

    indices: Indices
    """Of the bundle."""
    item_ids: NDArray[np.int64]
    """Ids of films that the bundle does not have."""


@dataclass(frozen=True)
class Ranked:
    """Films of a shelf by index, best first, with their scores."""

    indices: Indices
    scores: Floats


NOTHING = LeftOut(np.empty(0, np.intp), np.empty(0, np.int64))


def score(served: ServedBundle, history: History, model: str) -> Scored:
    """Return the scores of the named model, or popularity if the model cannot score this history.

    It is a fallback if the model knows none of the films that the viewer likes. Dislikes alone say what to leave out,
    not what to show.
    """
    scores = served.recommenders[model].score(history)
    if scores is None:
        return Scored(served.fallback, Strategy.POPULAR_FALLBACK if history.likes else Strategy.POPULAR)
    return Scored(scores, Strategy.TRAINED if history.trained_row is not None else Strategy.LIVE)


def already_seen(history: History) -> LeftOut:
    """Return the films that the viewer has given a signal that still stands."""
    return LeftOut(history.seen_indices, history.seen_unknown)


def best(shelf: Shelf, scores: Floats, k: int, *, left_out: LeftOut = NOTHING, genre: int | None = None) -> Ranked:
    """Return the ``k`` best films of the catalogue by (n,) ``scores``, of one genre if given.

    If the bundle has too few films, films that it does not know follow in the order of their ids, with score 0 or the
    last known film's score, whichever is lower.
    """
    found = top_k(scores, k, left_out=left_out.indices, allowed=shelf.allowed(genre))
    found_scores: Floats = scores[found]
    if len(found) == k:
        return Ranked(found, found_scores)
    unscored = shelf.unscored(genre)
    if len(left_out.item_ids):
        unscored = unscored[~np.isin(shelf.item_ids[unscored], left_out.item_ids)]
    unscored = unscored[: k - len(found)]
    rest = np.full(len(unscored), min(0.0, float(found_scores[-1]) if len(found) else 0.0), np.float32)
    return Ranked(np.concatenate([found, unscored]), np.concatenate([found_scores, rest]))


def popular(shelf: Shelf, k: int, *, genre: int | None = None, recent: bool = False) -> Ranked:
    """Return the ``k`` most liked films, of all time or recently; the score is the number of viewers.

    Recently: films without a like in the recent window follow, with a score below 1; see `Recency`.
    """
    served = shelf.served
    if not recent:
        return best(shelf, served.popularity, k, genre=genre)
    ranked = best(shelf, served.recency.order, k, genre=genre)
    scores = np.zeros(len(ranked.indices), np.float32)
    known = ranked.indices < len(served.item_ids)
    scores[known] = served.recency.scores[ranked.indices[known]]
    return Ranked(ranked.indices, scores)


def similar(shelf: Shelf, film: Item, k: int) -> tuple[Ranked, Basis]:
    """Return the ``k`` films most similar to ``film``, without it, and the basis of similarity.

    Uses the default model. For a film for which it has no similarities: films that share most genres, then the most
    popular; the score is the number of shared genres plus popularity relative to the most popular film. If no film
    shares a genre, popular films.
    """
    served = shelf.served
    (index,), (known,) = served.indices_of(np.array([film.id], np.int64))
    near = served.default.similar(int(index)) if known else None
    if near is not None:
        itself = LeftOut(np.array([index]), NOTHING.item_ids)
        return best(shelf, near, k, left_out=itself), Basis.SAME_VIEWERS
    n = len(served.item_ids)
    share = np.zeros(len(shelf.item_ids), np.float32)
    share[:n] = 0.999 * served.popularity / max(float(served.popularity.max(initial=0)), 1.0)
    scores = shelf.shared_genres(film.genres) + share
    allowed = shelf.item_ids != film.id
    if shelf.listed is not None:
        allowed[:n] &= shelf.listed
    found = top_k(scores, k, allowed=allowed)
    shares_genres = bool(np.any(scores[found] >= 1))
    return Ranked(found, scores[found]), Basis.SAME_GENRES if shares_genres else Basis.POPULAR

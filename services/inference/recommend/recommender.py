"""From a viewer's history to their list: what to go by (`taste_of`), then the ranking (`rank`). Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.confidence import weights
from services.contracts.ids import UserId
from services.contracts.rest import Basis, Item, Strategy
from services.inference.history.merge import ViewerHistory, is_newer, merge_live
from services.inference.history.stamps import take_apart
from services.inference.models.fold_in import Floats, fold_in
from services.inference.models.model import Indices, Model
from services.inference.models.ranking import scores_of, top_k
from services.inference.recommend.shelf import Shelf


@dataclass(frozen=True)
class Taste:
    """What a viewer's list is made from: it changes only with the model and with the viewer's next signal."""

    strategy: Strategy
    factors: Floats | None
    """(f,); None: popular films."""
    seen: Indices
    """Films of the model to leave out."""
    seen_besides: NDArray[np.int64]
    """Ids of films to leave out that the model does not know."""


@dataclass(frozen=True)
class Ranked:
    """Films of a shelf by index, best first, with their scores."""

    indices: Indices
    scores: Floats


def whole_history(model: Model, user_id: UserId, slots: Mapping[int, int]) -> tuple[ViewerHistory, bool]:
    """Return the viewer's history and whether it holds anything newer than the model."""
    trained = model.trained_history(user_id)
    merged = merge_live(trained, slots) if slots else None
    return (trained, False) if merged is None else (merged, True)


def held_by(model: Model, user_id: UserId, slots: Mapping[int, int]) -> set[int]:
    """Return the slots that the model's bundle holds in the same or a newer version."""
    history = model.trained_history(user_id)
    held: set[int] = set()
    if not len(history.item_ids):
        return held
    for slot, version in slots.items():
        signal = take_apart(slot, version)
        row = int(np.searchsorted(history.item_ids, signal.item_id))
        known = row < len(history.item_ids) and history.item_ids[row] == signal.item_id
        if known and not is_newer(signal.version, history.versions[row, signal.signal]):
            held.add(slot)
    return held


def taste_of(model: Model, user_id: UserId, slots: Mapping[int, int]) -> Taste:
    """Return what to go by for a viewer whose signals since the model are ``slots``.

    A viewer without any positive signal about a film of the model gets popular films: negative
    signals alone say what to leave out, not what to show. It is a fallback where the viewer has
    positive signals, and the model knows none of those films.
    """
    history, changed = whole_history(model, user_id, slots)
    indices, known = model.indices_of(history.item_ids)
    seen, seen_besides = indices[known & history.seen], history.item_ids[~known & history.seen]
    weight = weights(history.opinion, history.rating, history.watched, model.manifest.confidence)
    likes = weight > 0
    if not bool(np.any(likes[known])):
        strategy = Strategy.POPULAR_FALLBACK if bool(np.any(likes)) else Strategy.POPULAR
        return Taste(strategy, None, seen, seen_besides)
    row = model.user_index(user_id)
    if row is not None and not changed:
        return Taste(Strategy.IALS, model.user_factors[row], seen, seen_besides)
    used = known & (weight != 0)
    confidence = weight[used] * np.float32(model.manifest.alpha)
    return Taste(Strategy.IALS_FOLD_IN, fold_in(model.basis, indices[used], confidence), seen, seen_besides)


def rank(shelf: Shelf, taste: Taste, k: int, genre: int | None = None) -> Ranked:
    """Return the viewer's ``k`` best unseen films, of one genre if given (its index in the catalogue).

    The score is the model's prediction, 1 for a like; films that the model does not know come last.
    """
    if taste.factors is None:
        popularity: Floats = shelf.model.bundle.arrays["popularity"]
        return _best(shelf, popularity, k, genre=genre, left_out=taste.seen, left_out_besides=taste.seen_besides)
    scores = scores_of(shelf.model.item_factors, taste.factors)
    return _best(shelf, scores, k, genre=genre, left_out=taste.seen, left_out_besides=taste.seen_besides)


def popular(shelf: Shelf, k: int, *, genre: int | None = None, recent: bool = False) -> Ranked:
    """Return the ``k`` films that most viewers like, all time or lately; the score is how many do.

    Lately: films without a like in the recent window follow, with a score below 1; see `Recency`.
    """
    model = shelf.model
    if not recent:
        return _best(shelf, model.bundle.arrays["popularity"], k, genre=genre)
    ranked = _best(shelf, model.recency.order, k, genre=genre)
    scores = np.zeros(len(ranked.indices), np.float32)
    known = ranked.indices < len(model.item_ids)
    scores[known] = model.recency.scores[ranked.indices[known]]
    return Ranked(ranked.indices, scores)


def similar(shelf: Shelf, film: Item, k: int) -> tuple[Ranked, Basis]:
    """Return the ``k`` films nearest to ``film``, itself left out, and what is meant by near.

    The same viewers: films whose factors point most nearly the same way; the score is the cosine, −1 to 1. For a film
    without factors (the model does not know it, or learned nothing about it) the same genres: films that share most of
    them, then the most popular; the score is the number of shared genres plus the share of the most popular film's
    popularity. Where no film shares a genre that is popular films.
    """
    model = shelf.model
    (index,), (known,) = model.indices_of(np.array([film.id], np.int64))
    if known and bool(model.directions[index].any()):
        scores = scores_of(model.directions, model.directions[index])
        return _best(shelf, scores, k, left_out=np.array([index])), Basis.SAME_VIEWERS
    n = len(model.item_ids)
    popularity: Floats = model.bundle.arrays["popularity"]
    share = np.zeros(len(shelf.item_ids), np.float32)
    share[:n] = 0.999 * popularity / max(float(popularity.max(initial=0)), 1.0)
    scores = shelf.shared_genres(film.genres) + share
    allowed = shelf.item_ids != film.id
    if shelf.listed is not None:
        allowed[:n] &= shelf.listed
    best = top_k(scores, k, allowed=allowed)
    shares_genres = bool(np.any(scores[best] >= 1))
    return Ranked(best, scores[best]), Basis.SAME_GENRES if shares_genres else Basis.POPULAR


def _best(
    shelf: Shelf,
    scores: Floats,
    k: int,
    *,
    genre: int | None = None,
    left_out: Indices | None = None,
    left_out_besides: NDArray[np.int64] | None = None,
) -> Ranked:
    """Return the ``k`` best films that may be shown by the model's (n,) ``scores``.

    Only when the model's films are too few do films follow that it does not know, in the order of their ids; their
    score is 0, or the last known film's where that is lower.
    """
    best = top_k(scores, k, left_out=left_out, allowed=shelf.allowed(genre))
    found: Floats = scores[best]
    if len(best) == k:
        return Ranked(best, found)
    unscored = shelf.unscored(genre)
    if left_out_besides is not None:
        unscored = unscored[~np.isin(shelf.item_ids[unscored], left_out_besides)]
    unscored = unscored[: k - len(best)]
    rest = np.full(len(unscored), min(0.0, float(found[-1]) if len(found) else 0.0), np.float32)
    return Ranked(np.concatenate([best, unscored]), np.concatenate([found, rest]))

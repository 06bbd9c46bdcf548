"""From a viewer's history to their list: what to go by (`taste_of`), then the ranking (`rank`). Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.common.confidence import weights
from services.contracts.ids import UserId
from services.contracts.rest import Strategy
from services.inference.fold_in import Floats, fold_in
from services.inference.model import Indices, Model
from services.inference.ranking import scores_of, top_k
from services.inference.stamps import take_apart
from services.inference.viewer_history import ViewerHistory, is_newer, merge_live


@dataclass(frozen=True)
class Taste:
    """What a viewer's list is made from: it changes only with the model and with the viewer's next signal."""

    strategy: Strategy
    factors: Floats | None
    """(f,); None: popular films."""
    seen: Indices
    """Films to leave out."""


@dataclass(frozen=True)
class Ranked:
    """Films of the model by index, best first, with their scores."""

    indices: Indices
    scores: Floats

    @classmethod
    def empty(cls) -> "Ranked":
        """Return no films."""
        return cls(np.empty(0, np.intp), np.empty(0, np.float32))


def whole_history(model: Model, user_id: UserId, slots: Mapping[int, int]) -> tuple[ViewerHistory, bool]:
    """Return the viewer's history and whether it holds anything newer than the model."""
    trained = model.trained_history(user_id)
    merged = merge_live(trained, slots) if slots else None
    return (trained, False) if merged is None else (merged, True)


def held_by(model: Model, user_id: UserId, slots: Mapping[int, int]) -> set[int]:
    """Return the slots that the model's bundle holds in the same or a newer version."""
    history = model.trained_history(user_id)
    held = set()
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
    seen = indices[known & history.seen]
    weight = weights(history.opinion, history.rating, history.watched, model.manifest.confidence)
    likes = weight > 0
    if not bool(np.any(likes[known])):
        return Taste(Strategy.POPULAR_FALLBACK if bool(np.any(likes)) else Strategy.POPULAR, None, seen)
    row = model.user_index(user_id)
    if row is not None and not changed:
        return Taste(Strategy.IALS, model.user_factors[row], seen)
    used = known & (weight != 0)
    confidence = weight[used] * np.float32(model.manifest.alpha)
    return Taste(Strategy.IALS_FOLD_IN, fold_in(model.basis, indices[used], confidence), seen)


def rank(model: Model, taste: Taste, k: int, genre: int | None = None) -> Ranked:
    """Return the viewer's ``k`` best unseen films, of one genre if given (its index in the manifest)."""
    if taste.factors is None:
        return popular(model, k, genre=genre, left_out=taste.seen)
    scores = scores_of(model.item_factors, taste.factors)
    best = top_k(scores, k, left_out=taste.seen, allowed=None if genre is None else model.has_genre[:, genre])
    return Ranked(best, scores[best])


def popular(
    model: Model, k: int, *, genre: int | None = None, recent: bool = False, left_out: Indices | None = None
) -> Ranked:
    """Return the ``k`` films that most viewers like, all time or lately; the score is how many do."""
    scores: Floats = model.bundle.arrays["popularity_recent" if recent else "popularity"]
    best = top_k(scores, k, left_out=left_out, allowed=None if genre is None else model.has_genre[:, genre])
    return Ranked(best, scores[best])


def similar(model: Model, index: int, k: int) -> Ranked:
    """Return the ``k`` films whose factors point most nearly the same way; the score is the cosine, −1 to 1."""
    scores = scores_of(model.directions, model.directions[index])
    best = top_k(scores, k, left_out=np.array([index], np.intp))
    return Ranked(best, scores[best])


def similar_by_genre(model: Model, genres: list[str], k: int) -> Ranked:
    """Return films for one that the model does not know: most genres in common, then most popular.

    The score is the number of shared genres plus the share of the most popular film's popularity.
    """
    shared = np.zeros(len(model.item_ids), np.float32)
    for name in genres:
        if name in model.genre_index:
            shared += model.has_genre[:, model.genre_index[name]]
    popularity: NDArray[np.float32] = model.bundle.arrays["popularity"]
    scores = shared + 0.999 * popularity / max(float(popularity.max()), 1.0)
    best = top_k(scores.astype(np.float32), k, allowed=shared > 0 if shared.any() else None)
    return Ranked(best, scores[best])

"""What a bundle is without some of its viewers. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import Manifest
from services.trainer.dataset import training_data
from services.trainer.models import Factors, Recipe, popularity
from services.trainer.publish import canaries, span_of
from services.trainer.signals import History

Arrays = Mapping[str, NDArray[Any]]


def without_viewers(manifest: Manifest, arrays: Arrays, viewers: NDArray[np.int64]) -> tuple[Manifest, Arrays]:
    """Return manifest and arrays without these viewers' factors, history, canaries and part in popularity.

    What is left belongs to no single viewer: the factors of films were made from everybody's history, and stay. A film
    that only these viewers liked has none any more, for its factors tell of nobody else.
    """
    kept = ~np.isin(arrays["user_ids"], viewers)
    if kept.all() and not np.isin([canary.user_id for canary in manifest.canaries], viewers).any():
        return manifest, arrays
    counts = np.diff(arrays["history_indptr"])
    rows = np.repeat(kept, counts)
    history = History(
        user_ids=arrays["user_ids"][kept],
        indptr=np.concatenate(([0], np.cumsum(counts[kept]))).astype(np.int64),
        item_ids=arrays["history_item_ids"][rows],
        opinion=arrays["history_opinion"][rows],
        rating=arrays["history_rating"][rows],
        watched=arrays["history_watched"][rows],
        versions=arrays["history_versions"][rows],
    )
    data = training_data(history, manifest.confidence)
    item_ids = arrays["item_ids"]
    liked = np.isin(item_ids, data.item_ids)
    factors = Factors(
        users=arrays["user_factors"][kept],
        items=np.where(liked[:, None], arrays["item_factors"], 0).astype(np.float32),
    )
    recent_days = int(manifest.parameters.get("recent_days", Recipe().recent_days))
    ever, lately = (_spread(item_ids, data.item_ids, counted) for counted in _popularities(data, recent_days))
    first, last = span_of(history)
    changed: dict[str, Any] = {
        "rows": manifest.rows
        | {
            "signals": int(np.count_nonzero(history.versions[:, :, 0])),
            "history": len(history),
            "users": len(history.user_ids),
            "positives": data.positives,
        },
        "data_from": first,
        "data_until": last,
        "canaries": canaries(history.user_ids, item_ids, factors),
        "files": {},
    }
    return manifest.model_copy(update=changed), {
        **arrays,
        "user_ids": history.user_ids,
        "user_factors": factors.users,
        "item_factors": factors.items,
        "popularity": ever,
        "popularity_recent": lately,
        "genre_popularity": (ever * arrays["item_genres"].T).astype(np.float32),
        "history_indptr": history.indptr,
        "history_item_ids": history.item_ids,
        "history_opinion": history.opinion,
        "history_rating": history.rating,
        "history_watched": history.watched,
        "history_versions": history.versions,
    }


def _popularities(data: Any, recent_days: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not len(data.item_ids):
        return np.empty(0, np.float32), np.empty(0, np.float32)
    return popularity(data), popularity(data, recent_days=recent_days)


def _spread(
    item_ids: NDArray[np.int64], counted_ids: NDArray[np.int64], counted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the counts over all of ``item_ids``, 0 where nobody is counted."""
    result = np.zeros(len(item_ids), np.float32)
    known = np.isin(counted_ids, item_ids)
    result[np.searchsorted(item_ids, counted_ids[known])] = counted[known]
    return result

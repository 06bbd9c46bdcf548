"""A bundle without some of its viewers. Pure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Arrays
from services.contracts.bundle import Manifest
from services.models.loader import load_recommenders
from services.trainer.bundles.publish import canaries, span_of
from services.trainer.data.dataset import training_data
from services.trainer.data.popularity import popularity
from services.trainer.data.shared import viewer_arrays
from services.trainer.data.signals import Histories
from services.trainer.models.base import kind_of
from services.trainer.models.recipe import Recipe

Models = Mapping[str, Arrays]
"""By model its own arrays."""


def without_viewers(
    manifest: Manifest, arrays: Arrays, models: Models, viewers: NDArray[np.int64]
) -> tuple[Manifest, Arrays, Models]:
    """Return manifest and arrays without these viewers' rows, history, canaries and part in popularity.

    What remains belongs to no single viewer: what models learned about films from all viewers stays, except about films
    that only these viewers liked.

    Raises:
        UnknownKindError, BundleError: a model is of a kind that this release does not have, or not what it expects.
    """
    kept = ~np.isin(arrays["user_ids"], viewers)
    named = [canary.user_id for model in manifest.models.values() for canary in model.canaries]
    if kept.all() and not np.isin(named, viewers).any():
        return manifest, arrays, models
    counts = np.diff(arrays["history_indptr"])
    rows = np.repeat(kept, counts)
    history = Histories(
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
    recent_days = int(manifest.parameters.get("recent_days", Recipe.model_fields["recent_days"].default))
    overall, recent = (_spread(item_ids, data.item_ids, counted) for counted in _popularities(data, recent_days))
    shared: Arrays = {
        "item_ids": item_ids,
        "popularity": overall,
        "popularity_recent": recent,
        "item_genres": arrays["item_genres"],
        **viewer_arrays(data),
    }
    liked = np.isin(item_ids, data.item_ids)
    own = {name: kind_of(model.kind).without(models[name], kept, liked) for name, model in manifest.models.items()}
    loaded = load_recommenders(manifest.models, own, shared)
    entries = {
        name: model.model_copy(
            update={"canaries": canaries(loaded[name], history, manifest.confidence, item_ids, manifest.created_at)}
        )
        for name, model in manifest.models.items()
    }
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
        "models": entries,
        "files": {},
    }
    return manifest.model_copy(update=changed), shared, own


def _popularities(data: Any, recent_days: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if not len(data.item_ids):
        return np.empty(0, np.float32), np.empty(0, np.float32)
    return popularity(data), popularity(data, recent_days=recent_days)


def _spread(
    item_ids: NDArray[np.int64], counted_ids: NDArray[np.int64], counted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the counts for all of ``item_ids``, 0 where there are none."""
    result = np.zeros(len(item_ids), np.float32)
    known = np.isin(counted_ids, item_ids)
    result[np.searchsorted(item_ids, counted_ids[known])] = counted[known]
    return result

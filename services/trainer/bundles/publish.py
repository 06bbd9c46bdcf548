"""Builds a bundle from trained models and their training history. Pure but for `write_bundle`'s caller."""

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import Canary, Manifest, ModelEntry
from services.trainer.data.signals import History
from services.trainer.models.base import Scorer
from services.trainer.run import Evaluated, Extracted, Trained

CANARIES = 5
CANARY_ITEMS = 10
_CANARY_CANDIDATES = 500


def shared_arrays(
    history: History,
    *,
    item_ids: NDArray[np.int64],
    popularity: NDArray[np.float32],
    popularity_recent: NDArray[np.float32],
    item_genres: NDArray[np.uint8],
) -> dict[str, NDArray[Any]]:
    """Return the arrays that the bundle's models share: `services.contracts.bundle.SHARED_ARRAYS`."""
    return {
        "item_ids": item_ids,
        "user_ids": history.user_ids,
        "popularity": popularity,
        "popularity_recent": popularity_recent,
        "item_genres": item_genres,
        "history_indptr": history.indptr,
        "history_item_ids": history.item_ids,
        "history_opinion": history.opinion,
        "history_rating": history.rating,
        "history_watched": history.watched,
        "history_versions": history.versions,
    }


def canaries(
    user_ids: NDArray[np.int64], item_ids: NDArray[np.int64], has_positive: NDArray[np.bool_], score: Scorer
) -> list[Canary]:
    """Return canary lists, which any replica must reproduce; they include seen films.

    Of up to 500 users with a positive those are taken whose best eleven scores lie furthest apart, relative to the
    greatest: another machine's rounding cannot change the order of theirs.
    """
    count = min(CANARY_ITEMS, len(item_ids))
    candidates = np.flatnonzero(has_positive)
    sample = candidates[np.linspace(0, len(candidates) - 1, min(_CANARY_CANDIDATES, len(candidates)), dtype=int)]
    if len(sample) == 0:
        return []
    scores = score(sample)
    order = np.argsort(-scores, axis=1, kind="stable")
    best = np.take_along_axis(scores, order[:, : count + 1], axis=1)
    gaps = np.min(-np.diff(best, axis=1), axis=1, initial=np.inf) / np.maximum(np.abs(best).max(axis=1), 1e-9)
    clearest = np.sort(np.argsort(-gaps, kind="stable")[:CANARIES])
    return [
        Canary(user_id=int(user_ids[sample[row]]), item_ids=[int(item) for item in item_ids[order[row, :count]]])
        for row in clearest
    ]


def manifest(
    run_id: str,
    *,
    version: str,
    code_revision: str,
    extracted: Extracted,
    trained: Trained,
    evaluated: Evaluated,
    history: History,
    genres: list[str],
    canary_lists: Mapping[str, list[Canary]],
) -> Manifest:
    """Return the bundle's manifest; `write_bundle` fills in the files."""
    first, last = span_of(history)
    recipe = trained.recipe
    return Manifest(
        version=version,
        created_at=trained.trained_at,
        code_revision=code_revision,
        run_id=run_id,
        data_from=first,
        data_until=last,
        rows={
            "signals": extracted.signals,
            "history": len(history),
            "users": trained.users,
            "items": trained.items,
            "positives": trained.positives,
        },
        topic_id=extracted.topic_id,
        offsets=extracted.offsets,
        confidence=recipe.confidence,
        parameters={
            "recent_days": recipe.recent_days,
            "recipe": recipe.model_dump(mode="json"),
            "train_seconds": round(trained.seconds, 3),
        },
        genres=genres,
        metrics={
            f"{model}_{metric}": value
            for model, values in evaluated.metrics.items()
            for metric, value in values.items()
        }
        | {"evaluated_users": float(evaluated.users)},
        models={
            name: ModelEntry(kind=model.kind, parameters=trained.parameters[name], canaries=canary_lists[name])
            for name, model in recipe.models.items()
        },
        default_model=recipe.default_model,
        files={},
    )


def span_of(history: History) -> tuple[datetime | None, datetime | None]:
    """Return the times of the history's first and last row, None if it has none."""
    times = history.time_us
    return (_time(times.min()), _time(times.max())) if len(times) else (None, None)


def _time(microseconds: np.uint64) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1e6, timezone.utc)

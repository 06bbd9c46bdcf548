"""Builds a bundle from trained models and their training history. Pure but for `write_bundle`'s caller."""

from collections.abc import Mapping
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from services.contracts.bundle import Canary, ConfidenceParameters, Manifest, ModelEntry
from services.contracts.signals import to_microseconds
from services.models.base import Recommender
from services.models.ranking import top_k
from services.trainer.data.moments import Timelines
from services.trainer.data.signals import Histories
from services.trainer.run import Evaluated, Extracted, Trained

CANARIES = 5
CANARY_ITEMS = 10
_CANDIDATES = 200


def canaries(
    recommender: Recommender,
    histories: Histories,
    confidence: ConfidenceParameters,
    item_ids: NDArray[np.int64],
    created_at: datetime,
) -> list[Canary]:
    """Return canary lists of a model over ``item_ids``, which any replica must reproduce; they include seen films.

    Of up to 200 users who like something those are taken whose best eleven scores lie furthest apart, relative to the
    greatest: another machine's rounding cannot change the order of theirs.
    """
    timelines = Timelines(histories, confidence)
    candidates = [user for user in range(len(histories.user_ids)) if len(timelines.likes(user))]
    sample = [candidates[n] for n in np.linspace(0, len(candidates) - 1, min(_CANDIDATES, len(candidates)), dtype=int)]
    found = []
    for user in sample:
        end, at_us = timelines.rows(user).stop, to_microseconds(created_at)
        scores = recommender.score(timelines.history(user, end, item_ids, at_us, trained_row=user))
        if scores is not None:
            best = top_k(scores, CANARY_ITEMS + 1)
            gap = np.min(-np.diff(scores[best]), initial=np.inf) / max(float(np.abs(scores[best]).max()), 1e-9)
            items = [int(item) for item in item_ids[best[:CANARY_ITEMS]]]
            found.append((float(gap), Canary(user_id=int(histories.user_ids[user]), item_ids=items)))
    clearest = sorted(found, key=lambda pair: -pair[0])[:CANARIES]
    return sorted((canary for _, canary in clearest), key=lambda canary: canary.user_id)


def manifest(
    run_id: str,
    *,
    version: str,
    code_revision: str,
    extracted: Extracted,
    trained: Trained,
    evaluated: Evaluated,
    history: Histories,
    profile: Mapping[str, float],
    genres: list[str],
    entries: Mapping[str, ModelEntry],
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
            "profile": dict(profile),
        },
        genres=genres,
        metrics=evaluated.metrics | {"evaluated_users": float(evaluated.users)},
        models={name: entry.model_copy(update={"canaries": canary_lists[name]}) for name, entry in entries.items()},
        default_model=recipe.default_model,
        files={},
    )


def span_of(history: Histories) -> tuple[datetime | None, datetime | None]:
    """Return the times of the history's first and last row, None if it has none."""
    times = history.time_us
    return (_time(times.min()), _time(times.max())) if len(times) else (None, None)


def _time(microseconds: np.uint64) -> datetime:
    return datetime.fromtimestamp(int(microseconds) / 1e6, timezone.utc)

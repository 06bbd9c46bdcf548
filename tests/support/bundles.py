"""Small model bundles for tests: random factors, histories given by hand, the rest derived from them."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.common.bundle import Bundle, open_bundle, write_bundle
from services.contracts.bundle import Canary, ConfidenceParameters, Manifest, ModelEntry

CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)
GENRES = ["Action", "Comedy"]
T0 = 1_700_000_000_000_000
"""Time of the bundles' signals, µs."""


def make_bundle(
    model_dir: Path,
    version: str = "v1",
    *,
    likes: Mapping[int, list[int]] | None = None,
    items: int = 40,
    factors: int = 8,
    seed: int = 0,
    topic_id: str | None = None,
    offsets: Mapping[int, int] | None = None,
    canary_ids: list[int] | None = None,
    confidence: ConfidenceParameters | None = None,
) -> Bundle:
    """Write and open a bundle of films 1…``items``; odd films are Action, even ones Comedy; ``likes`` by viewer.

    ``canary_ids`` replaces the first viewer's true canary, to make a bundle that must be refused.
    """
    likes = likes if likes is not None else {7: [1, 2, 3], 8: [4, 5]}
    random = np.random.default_rng(seed)
    users = sorted(likes)
    arrays: dict[str, NDArray[Any]] = {
        "item_ids": np.arange(1, items + 1, dtype=np.int64),
        "user_ids": np.array(users, np.int64),
        "popularity": np.arange(items, 0, -1).astype(np.float32),
        "popularity_recent": np.arange(1, items + 1).astype(np.float32),
    }
    odd = np.arange(1, items + 1) % 2 == 1
    arrays["item_genres"] = np.stack([odd, ~odd], axis=1).astype(np.uint8)
    als = {
        "item_factors": random.normal(0, 0.3, (items, factors)).astype(np.float32),
        "user_factors": random.normal(0, 0.3, (len(users), factors)).astype(np.float32),
    }
    liked = [sorted(likes[user]) for user in users]
    rows = sum(map(len, liked))
    arrays["history_indptr"] = np.cumsum([0, *map(len, liked)]).astype(np.int64)
    arrays["history_item_ids"] = np.array([item for row in liked for item in row], np.int64)
    arrays["history_opinion"] = np.ones(rows, np.int8)
    arrays["history_rating"] = np.full(rows, np.nan, np.float32)
    arrays["history_watched"] = np.zeros(rows, np.uint8)
    arrays["history_versions"] = np.zeros((rows, 3, 2), np.uint64)
    arrays["history_versions"][:, 0, 0] = T0
    canaries = []
    if users:
        scores = als["item_factors"] @ als["user_factors"][0]
        best = [int(i) + 1 for i in np.argsort(-scores)[:10]]
        canaries = [Canary(user_id=users[0], item_ids=canary_ids or best)]
    manifest = Manifest(
        version=version,
        created_at=CREATED,
        code_revision="test",
        run_id=f"run-{version}",
        data_from=CREATED,
        data_until=CREATED,
        rows={"signals": rows, "users": len(users), "items": items},
        topic_id=topic_id,
        offsets=dict(offsets or {}),
        confidence=confidence or ConfidenceParameters(),
        genres=GENRES,
        metrics={"ndcg@10": 0.2},
        models={
            "als": ModelEntry(kind="als", parameters={"regularization": 0.1, "alpha": 3.0}, canaries=canaries),
            "popular": ModelEntry(kind="popular"),
        },
        default_model="als",
        files={},
    )
    return open_bundle(write_bundle(model_dir, manifest, arrays, {"als": als, "popular": {}}))

"""A finished bundle that is not what was measured: it does not even find the likes that it was trained on."""

from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from services.common.bundle import Bundle
from services.contracts.bundle import ConfidenceParameters, Manifest
from services.trainer.data.dataset import training_data
from services.trainer.data.shared import shared_arrays
from services.trainer.data.signals import Histories, Signals, pivot
from services.trainer.engines import local
from services.trainer.evaluation.beside import own_likes_found
from services.trainer.evaluation.evaluate import split_by_time
from services.trainer.models.recipe import ModelRecipe, Recipe

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
USERS, FILMS = 60, 240
RECIPE = Recipe(
    models={
        "als": ModelRecipe(kind="als", parameters={"factors": 8, "regularization": 1}),
        "popular": ModelRecipe(kind="popular"),
    }
)


def likes() -> Histories:
    """Viewers like nine of the twelve films of their kind; there are twenty kinds."""
    rows = [
        (user, 1 + kind + 20 * n, user * 100 + n)
        for user in range(USERS)
        for kind in [user % 20]
        for n in range(12)
        if n % 4 != user % 4
    ]
    user, item, time = (np.array(column) for column in zip(*rows, strict=True))
    n = len(rows)
    return pivot(
        Signals(
            user.astype(np.int64), item.astype(np.int64), np.zeros(n, np.uint8), np.ones(n, np.float32),
            time.astype(np.uint64), np.arange(n, dtype=np.uint64),
        )
    )  # fmt: skip


def bundle(*, shuffled: bool) -> Bundle:
    data = training_data(likes(), RECIPE.confidence)
    fitted = local.fit(data, RECIPE)
    genres, shared = shared_arrays(data, 7)
    models = {name: dict(model.arrays) for name, model in fitted.items()}
    if shuffled:
        models["als"]["item_factors"] = np.random.default_rng(1).permutation(models["als"]["item_factors"])
    manifest = Manifest(
        version="v", created_at=NOW, code_revision="test", run_id="r", data_from=None, data_until=None, rows={},
        topic_id=None, offsets={}, confidence=ConfidenceParameters(), genres=genres, files={}, default_model="als",
        models=local.entries(RECIPE, {name: model.parameters for name, model in fitted.items()}),
    )  # fmt: skip
    return Bundle(Path("v"), manifest, shared, models)


def test_a_sound_bundle_finds_the_likes_that_it_was_trained_on_and_one_with_shuffled_films_does_not() -> None:
    sound, shuffled = (own_likes_found(bundle(shuffled=shuffled)) for shuffled in (False, True))
    assert sound is not None
    assert shuffled is not None
    assert sound > 0.3
    assert shuffled < sound / 5


def test_a_test_part_that_the_training_part_has_is_counted() -> None:
    part = split_by_time(likes(), 0.2)
    assert part.leaked == 0
    leaky = type(part)(likes(), part.test)
    assert leaky.leaked == len(part.test)

"""The exercise: a kind of model is added as one file per side, without touching anything else.

`random` is trained, written, opened, checked by its canaries and served beside the other models of the bundle.
"""

import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from services.common.bundle import BundleError, open_bundle, write_bundle
from services.contracts.bundle import ConfidenceParameters, Manifest
from services.contracts.ids import UserId
from services.contracts.rest import Strategy
from services.inference.models.served import load_served
from services.inference.recommend.pipeline import already_seen, best, score
from services.models import kinds as served_kinds
from services.models.loader import load_recommenders
from services.trainer.bundles.publish import canaries
from services.trainer.data.catalogue import catalogue_of
from services.trainer.data.dataset import training_data
from services.trainer.data.shared import shared_arrays
from services.trainer.data.signals import Signals, pivot
from services.trainer.engines import local
from services.trainer.models import kinds as trained_kinds
from services.trainer.models.recipe import ModelRecipe, Recipe, default_models
from tests.support.shelves import shelf

TRAINER = '''
"""Random scores: every viewer gets their own, the same each time."""

import numpy as np
from pydantic import BaseModel

from services.trainer.models.base import Fitted


class Parameters(BaseModel):
    seed: int = 1


def fit(data, parameters, replays, *, progress):
    scores = np.random.default_rng(parameters.seed).random((len(data.user_ids), len(data.item_ids)), np.float32)
    return Fitted({"scores": scores}, parameters.model_dump())


def without(arrays, kept, liked):
    return {"scores": arrays["scores"][kept]}
'''
INFERENCE = '''
"""Random scores, for viewers of whom it has any."""

from services.models.base import Capabilities
from services.models.loader import need


class Random:
    capabilities = Capabilities()

    def __init__(self, scores):
        self._scores = scores

    def score(self, history):
        return None if history.trained_row is None else self._scores[history.trained_row]

    def similar(self, index):
        return None

    def contributions(self, history, index):
        return None


def load(arrays, parameters, shared, used):
    return Random(need(arrays, "scores", "float32", 2))
'''
CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def random_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for package, source in ((trained_kinds, TRAINER), (served_kinds, INFERENCE)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "random.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield
    for package in (trained_kinds, served_kinds):
        sys.modules.pop(f"{package.__name__}.random", None)


def bundle_of(folder: Path, recipe: Recipe) -> Path:
    """Train the recipe on a few likes and write its bundle, as the steps of a run do."""
    users, items = np.repeat(np.arange(1, 9), 3), np.array([1 + (u * 5 + n) % 12 for u in range(8) for n in range(3)])
    n = len(users)
    likes = Signals(
        users.astype(np.int64), items.astype(np.int64), np.zeros(n, np.uint8), np.ones(n, np.float32),
        np.arange(1, n + 1, dtype=np.uint64), np.arange(n, dtype=np.uint64),
    )  # fmt: skip
    films = catalogue_of(dict.fromkeys(range(1, 13), (None, ("Action",))))
    data = training_data(pivot(likes), recipe.confidence, films)
    fitted = local.fit(data, recipe)
    models = {name: model.arrays for name, model in fitted.items()}
    genres, shared = shared_arrays(data, recipe.recent_days)
    entries = local.entries(recipe, {name: model.parameters for name, model in fitted.items()})
    loaded = load_recommenders(entries, models, shared)
    entries = {
        name: entry.model_copy(
            update={"canaries": canaries(loaded[name], data.histories, data.confidence, data.item_ids, CREATED)}
        )
        for name, entry in entries.items()
    }
    manifest = Manifest(
        version="v1", created_at=CREATED, code_revision="test", run_id="r", data_from=None, data_until=None, rows={},
        topic_id=None, offsets={}, confidence=ConfidenceParameters(), genres=genres, models=entries,
        default_model=recipe.default_model, files={},
    )  # fmt: skip
    return write_bundle(folder, manifest, shared, models)


@pytest.mark.usefixtures("random_kind")
def test_a_kind_in_one_file_per_side_is_trained_and_served_beside_the_others(tmp_path: Path) -> None:
    recipe = Recipe(models={**default_models(), "dice": ModelRecipe(kind="random", parameters={"seed": 3})})
    served = load_served(open_bundle(bundle_of(tmp_path, recipe)), "champion", CREATED)
    assert set(served.recommenders) == {"als", "popular", "dice"}
    assert len(served.manifest.models["dice"].canaries) == 5
    viewer = served.history(UserId(1), {})
    films = shelf(served)
    lists = {
        name: best(films, score(served, viewer, name).scores, 5, left_out=already_seen(viewer)).indices.tolist()
        for name in served.recommenders
    }
    assert lists["dice"] not in (lists["als"], lists["popular"])
    expected = served.bundle.models["dice"]["scores"][0].copy()
    expected[viewer.indices] = -np.inf
    assert lists["dice"] == np.argsort(-expected)[:5].tolist()
    stranger = served.history(UserId(99), {})
    assert score(served, stranger, "dice").strategy is Strategy.POPULAR, "popular films where it has nothing to say"


@pytest.mark.usefixtures("random_kind")
def test_two_models_may_be_of_one_kind(tmp_path: Path) -> None:
    dice = {f"dice_{seed}": ModelRecipe(kind="random", parameters={"seed": seed}) for seed in (1, 2)}
    served = load_served(
        open_bundle(bundle_of(tmp_path, Recipe(models={**default_models(), **dice}, default_model="dice_2"))),
        "champion", CREATED,
    )  # fmt: skip
    viewer = served.history(UserId(2), {})
    one, two = (score(served, viewer, name).scores for name in dice)
    assert not np.array_equal(one, two)
    assert np.array_equal(score(served, viewer, served.manifest.default_model).scores, two)


def test_a_bundle_with_a_kind_that_this_release_does_not_have_is_refused_in_words(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("random_kind")
    path = bundle_of(tmp_path, Recipe(models={**default_models(), "dice": ModelRecipe(kind="random")}))
    served_kinds.__path__ = served_kinds.__path__[:1]
    opened = open_bundle(path)
    with pytest.raises(BundleError, match=r"^v1: model dice: unknown kind of model 'random'; this release has als, "):
        load_served(opened, "champion", CREATED)


def test_a_recipe_of_a_kind_that_this_release_does_not_have_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="unknown kind of model 'sequential'; this release has als, "):
        ModelRecipe(kind="sequential")
    with pytest.raises(ValueError, match="there must be a model of the kind popular"):
        Recipe(models={"als": ModelRecipe(kind="als")})
    with pytest.raises(ValueError, match="default_model 'ease' is not one of the models"):
        Recipe(default_model="ease")


def test_a_recipe_of_bundle_format_1_is_read() -> None:
    old = {"factors": 64, "alpha": 2.0, "regularization": None, "iterations": 9, "seed": 5, "recent_days": 14}
    recipe = Recipe.model_validate(old)
    assert recipe.recent_days == 14
    assert recipe.models["als"] == ModelRecipe(kind="als", parameters={n: old[n] for n in old if n != "recent_days"})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe

"""Two stages: what other models propose, ranked by LightGBM's LambdaRank (Burges, 2010), learned by replay."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from services.common.bundle import Arrays
from services.contracts.bundle import Name
from services.models.candidates import candidates
from services.models.features import Films, feature_names
from services.models.kinds.als import Als
from services.models.trees import QUESTIONS, Trees
from services.trainer.data.dataset import TrainingData
from services.trainer.models.base import Fitted, Replay, Replays, TrainingError

_DAY_US = 86_400_000_000
_SHRINKAGE = 5


class Parameters(BaseModel):
    """Equal parameters on equal data give equal trees."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: list[Name] = Field(default=["als", "ease", "popular"], min_length=1, description="They propose films.")
    candidates: int = Field(default=100, ge=10, description="How many films each of them proposes.")
    list_weight: float = Field(
        default=4, gt=0, description="Weight of a list of which all later likes are known, beside one of the next like."
    )
    negatives: float = Field(default=0.3, gt=0, le=1, description="Share of the films not liked that are trained on.")
    trees: int = Field(default=150, ge=1)
    leaves: int = Field(default=8, ge=2, le=8, description="At most 8: the service evaluates such trees in NumPy.")
    learning_rate: float = Field(default=0.06, gt=0, le=1)
    min_leaf: int = Field(default=200, ge=1)
    seed: int = 7


def fit(data: TrainingData, parameters: Parameters, replays: Replays, *, progress: bool) -> Fitted:
    """Train the trees on every replay.

    Without anything to learn from, there is one leaf: the order is that of the films' ids.
    """
    parts = [_examples(replay, parameters) for replay in replays.of(parameters.models)]
    names = feature_names(parameters.models)
    features = np.concatenate([np.zeros((0, len(names)), np.float32), *(part[0] for part in parts)])
    is_target = np.concatenate([np.zeros(0, bool), *(part[1] for part in parts)])
    sizes = np.concatenate([np.zeros(0, np.int64), *(part[2] for part in parts)])
    weights = np.concatenate([np.zeros(0), *(part[3] for part in parts)])
    if not len(sizes):
        features, is_target, sizes, weights = (
            np.zeros((2, len(names)), np.float32),
            np.array([True, False]),
            np.array([2]),
            np.ones(1),
        )
    settings = {
        "objective": "lambdarank", "num_leaves": parameters.leaves, "learning_rate": parameters.learning_rate,
        "min_data_in_leaf": parameters.min_leaf, "lambdarank_truncation_level": 20, "feature_fraction": 0.6,
        "bagging_fraction": 0.7, "bagging_freq": 1, "seed": parameters.seed, "deterministic": True,
        "force_row_wise": True, "max_bin": 63, "verbosity": -1, "label_gain": [0, 1], "num_threads": 1,
    }  # fmt: skip
    lightgbm = _lightgbm()
    dataset = lightgbm.Dataset(
        features, is_target.astype(np.int32), group=sizes, weight=np.repeat(weights, sizes), feature_name=names
    )
    booster = lightgbm.train(settings, dataset, parameters.trees)
    trees = trees_of(booster.dump_model())
    arrays = {
        **_films(data),
        "tree_features": trees.features,
        "tree_thresholds": trees.thresholds,
        "tree_unknown": trees.unknown,
        "tree_values": trees.values,
        "text": np.frombuffer(booster.model_to_string().encode(), np.uint8),
    }
    return Fitted(arrays, parameters.model_dump(mode="json") | {"features": names})


def _lightgbm() -> Any:
    """Return the library.

    Raises:
        TrainingError: the system library that it needs is not installed.
    """
    try:
        import lightgbm  # noqa: PLC0415 - only this kind of model needs it
    except OSError as error:
        raise TrainingError(
            f"LightGBM cannot be loaded: {error}; it needs OpenMP's library (on Debian: apt-get install libgomp1)"
        ) from error
    return lightgbm


def trees_of(model: dict[str, Any]) -> Trees:
    """Return the trees of LightGBM's JSON dump, for float32 features.

    LightGBM compares in float64: a float32 is at most a threshold if it is at most the greatest float32 that is.

    Raises:
        ValueError: a tree has more than eight leaves, or splits other than by numbers.
    """
    shape = (len(model["tree_info"]), QUESTIONS)
    features, thresholds = np.zeros(shape, np.int16), np.zeros(shape, np.float32)
    unknown, values = np.zeros(shape, bool), np.zeros((shape[0], 1 << QUESTIONS), np.float32)
    answers = (np.arange(1 << QUESTIONS)[:, None] >> np.arange(QUESTIONS)) & 1 == 1

    def walk(tree: int, node: dict[str, Any], reached: NDArray[np.bool_], asked: list[int]) -> None:
        if "split_feature" not in node:
            values[tree, reached] = node["leaf_value"]
            return
        question = len(asked)
        if question == QUESTIONS or node["decision_type"] != "<=":
            raise ValueError(f"tree {tree} has more than {QUESTIONS + 1} leaves, or a split that is not by number")
        asked.append(question)
        features[tree, question] = node["split_feature"]
        thresholds[tree, question] = _float32_below(node["threshold"])
        as_zero = node["missing_type"] == "None"
        unknown[tree, question] = node["threshold"] >= 0 if as_zero else node["default_left"]
        walk(tree, node["left_child"], reached & answers[:, question], asked)
        walk(tree, node["right_child"], reached & ~answers[:, question], asked)

    for tree, info in enumerate(model["tree_info"]):
        walk(tree, info["tree_structure"], np.ones(1 << QUESTIONS, bool), [])
    return Trees(features, thresholds, unknown, values)


def _float32_below(value: float) -> np.float32:
    """Return the greatest finite float32 that is at most ``value``."""
    limit = float(np.finfo(np.float32).max)
    nearest = np.float32(min(max(value, -limit), limit))
    return nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf))


def _examples(
    replay: Replay, parameters: Parameters
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """Return features, whether each film was liked afterwards, films per list, and each list's weight.

    Lists without a film that was liked afterwards teach nothing and are left out.
    """
    models = [replay.models[name] for name in parameters.models]
    near = next((model for model in models if isinstance(model, Als)), None)
    films = Films(**_films(replay.data), has_genre=replay.shared["item_genres"])
    random = np.random.default_rng(parameters.seed)
    features, is_target, sizes, weights = [], [], [], []
    for moment in replay.moments:
        if not len(moment.history.liked):
            continue
        scores = [model.score(moment.history) for model in models]
        chosen = candidates([own for own in scores if own is not None], moment.history, parameters.candidates)
        wanted = np.isin(replay.data.item_ids[chosen], moment.targets)
        if wanted.any():
            kept = wanted | (random.random(len(chosen)) < parameters.negatives)
            features.append(films.features(moment.history, chosen, scores, near)[kept])
            is_target.append(wanted[kept])
            sizes.append(int(np.count_nonzero(kept)))
            weights.append(1.0 if moment.is_next else parameters.list_weight)
    if not sizes:
        empty = np.zeros((0, len(feature_names(parameters.models))), np.float32)
        return empty, np.zeros(0, bool), np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(features), np.concatenate(is_target), np.array(sizes), np.array(weights)


def _films(data: TrainingData) -> dict[str, Any]:
    """Return what `services.models.features.Films` needs, without the genres."""
    n, positive = len(data.item_ids), data.weight > 0
    items, times = data.item_index[positive], data.time_us[positive]
    latest = times.max(initial=0)
    popularity = []
    for days in (7, 30, 90, None):
        chosen = slice(None) if days is None else times + np.uint64(days * _DAY_US) > latest
        counts = np.bincount(items[chosen], minlength=n) + 0.5
        popularity.append(np.log(counts / counts.sum() * n))
    first = np.full(n, latest, np.uint64)
    np.minimum.at(first, items, times)
    rows = np.bincount(np.searchsorted(data.item_ids, _known(data)), minlength=n)
    overall = len(items) / max(int(rows.sum()), 1)
    liked_share = (np.bincount(items, minlength=n) + _SHRINKAGE * overall) / (rows + _SHRINKAGE)
    return {
        "popularity": np.array(popularity, np.float32),
        "years": data.catalogue.years_of(data.item_ids),
        "first_like_us": first,
        "liked_share": liked_share.astype(np.float32),
    }


def _known(data: TrainingData) -> NDArray[np.int64]:
    ids = data.histories.item_ids
    return ids[np.isin(ids, data.item_ids)]


def without(arrays: Arrays, kept: NDArray[np.bool_], liked: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """The trees, learned from all users, stay; films no longer liked lose their counts."""
    least = arrays["popularity"].min(axis=1, keepdims=True)
    return {**arrays, "popularity": np.where(liked, arrays["popularity"], least).astype(np.float32)}

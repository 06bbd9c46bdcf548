"""Two stages: other models propose films, and gradient-boosted trees rank them."""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, Field

from services.common.bundle import Arrays, BundleError
from services.models.base import Capabilities, Floats, History, Recommender, first_similar
from services.models.candidates import candidates
from services.models.features import WINDOWS, Films, feature_names
from services.models.kinds.als import Als
from services.models.loader import need
from services.models.trees import QUESTIONS, Trees


class Parameters(BaseModel):
    """The parameters needed for serving."""

    models: list[str] = Field(min_length=1)
    candidates: int = Field(ge=1, description="How many films each model proposes.")
    features: list[str] = Field(description="What the trees were trained on.")


class TwoStage:
    """Ranks what its models propose; all other films come after those, in the first model's order."""

    def __init__(self, models: Sequence[Recommender], trees: Trees, films: Films, parameters: Parameters) -> None:
        self._models = models
        self.trees = trees
        self._films = films
        self._candidates = parameters.candidates
        self._near = next((model for model in models if isinstance(model, Als)), None)
        self.capabilities = Capabilities(
            min_likes=1,
            finds_similar=any(model.capabilities.finds_similar for model in models),
            explains=any(model.capabilities.explains for model in models),
        )

    def score(self, history: History) -> Floats | None:
        """Return the trees' scores, shifted above 0, of the films proposed, and scores below 0 for all others.

        None without a liked film of the bundle.
        """
        if not len(history.liked):
            return None
        scores = [model.score(history) for model in self._models]
        given = [own for own in scores if own is not None]
        chosen = candidates(given, history, self._candidates)
        first = given[0]
        result: Floats = (first - first.max()) / np.float32(max(float(np.ptp(first)), 1e-9)) - np.float32(1)
        if len(chosen):
            features = self._films.features(history, chosen, scores, self._near)
            ranked = self.trees.predict(features)
            result[chosen] = ranked - ranked.min()
        return result

    def similar(self, index: int) -> Floats | None:
        """Return the similarities of the first model that has any."""
        return first_similar(self._models, index)

    def contributions(self, history: History, index: int) -> Floats | None:
        """Return those of the first model that explains: what made it propose the film."""
        found = (model.contributions(history, index) for model in self._models if model.capabilities.explains)
        return next((own for own in found if own is not None), None)


def load(arrays: Arrays, parameters: dict[str, object], shared: Arrays, used: Mapping[str, Recommender]) -> TwoStage:
    """Return the model.

    Raises:
        BundleError: the arrays are not those of a ranker over the shared axes, or trees of other features.
    """
    own = Parameters.model_validate(parameters)
    films = Films(
        popularity=need(arrays, "popularity", "float32", 2),
        years=need(arrays, "years", "int16", 1),
        first_like_us=need(arrays, "first_like_us", "uint64", 1),
        liked_share=need(arrays, "liked_share", "float32", 1),
        has_genre=shared["item_genres"],
    )
    items = len(shared["item_ids"])
    shapes = {"popularity": (len(WINDOWS), items), **dict.fromkeys(("years", "first_like_us", "liked_share"), (items,))}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BundleError(f"{name} has shape {arrays[name].shape}, it should be {shape}")
    if missing := sorted(set(own.models) - set(used)):
        raise BundleError(f"it ranks what {', '.join(missing)} propose, which it does not use")
    names = feature_names(own.models)
    if own.features != names:
        raise BundleError(f"the trees were trained on {own.features}, this release computes {names}")
    trees = Trees(
        need(arrays, "tree_features", "int16", 2),
        need(arrays, "tree_thresholds", "float32", 2),
        need(arrays, "tree_unknown", "bool", 2),
        need(arrays, "tree_values", "float32", 2),
    )
    questions, leaves = (len(trees.features), QUESTIONS), (len(trees.features), 1 << QUESTIONS)
    found = [trees.features.shape, trees.thresholds.shape, trees.unknown.shape, trees.values.shape]
    if found != [questions, questions, questions, leaves]:
        raise BundleError(f"the trees' arrays have shapes {found}")
    if trees.features.size and not (int(trees.features.min()) >= 0 and int(trees.features.max()) < len(names)):
        raise BundleError(f"the trees ask about features that are not there; there are {len(names)}")
    return TwoStage([used[name] for name in own.models], trees, films, own)

"""Evaluates recipes by what viewers liked later: full catalogue, no sampled negatives, films seen before left out.

Two protocols, of the same models trained on the earlier part of the data:

- **split**: one list for each viewer of the earlier part, made from their whole history in it; right is what they
  liked in the later part and had given no signal before.
- **streaming**: the later part is replayed in order of time; before each film that a viewer likes, a list is made from
  all that they did until then. So it measures what it is worth that a signal counts at once.

A film that the models don't know counts against every model: nobody could have recommended it. Ties of scores are
broken by item id, ascending, for every model alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from services.models.base import Floats, Recommender
from services.models.kinds.popular import Popular
from services.models.loader import fallback_scores
from services.trainer.data.catalogue import NO_CATALOGUE, Catalogue
from services.trainer.data.dataset import TrainingData, training_data
from services.trainer.data.demographics import NO_DEMOGRAPHICS, Demographics
from services.trainer.data.moments import Moment, Timelines, at_the_end, before_each_like
from services.trainer.data.popularity import popularity
from services.trainer.data.signals import Histories
from services.trainer.engines import local
from services.trainer.evaluation.lists import lists_of
from services.trainer.evaluation.metrics import K, Measured, measure
from services.trainer.models.base import Engine, fit_model
from services.trainer.models.recipe import Recipe

POPULAR, POPULAR_RECENT = "popular", "popular_recent"
"""What every model is measured beside."""
STREAMED = (500, 12)
"""How many viewers are replayed, and how many liked films of each at most."""
STREAMED_NIGHTLY = (300, 6)
SEED = 20_261_127
_HOUR_US = 3_600_000_000
NIGHTLY: dict[str, int | None] = {"at the next training": None}
DELAYS: dict[str, int | None] = {"after an hour": _HOUR_US, "after a day": 24 * _HOUR_US, **NIGHTLY}
"""By name, how much later signals count, in µs; None: only those of the training data do."""


@dataclass(frozen=True)
class Outcome:
    """Models on the same moments of one protocol."""

    moments: Sequence[Moment]
    models: dict[str, Measured]
    """By name."""

    @property
    def users(self) -> NDArray[np.int64]:
        """(moments,) each moment's viewer."""
        return np.array([moment.user_id for moment in self.moments], np.int64)

    @property
    def likes(self) -> NDArray[np.int64]:
        """(moments,) how many films the viewer liked before."""
        return np.array([moment.history.likes for moment in self.moments], np.int64)


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of recipes: both protocols, the same models."""

    split: Outcome
    streaming: Outcome
    data: TrainingData
    """What the first recipe was trained on."""
    recommenders: dict[str, Recommender] = field(default_factory=dict)
    """The first recipe's models, by its names."""
    fallback: Floats = field(default_factory=lambda: np.empty(0, np.float32))
    streamed: tuple[int, int] = STREAMED


@dataclass(frozen=True)
class Part:
    """The data of an evaluation."""

    train: Histories
    test: Histories
    whole: Histories | None = None
    """Both parts, to be replayed in order of time; None: streaming is not measured."""
    catalogue: Catalogue = NO_CATALOGUE
    demographics: Demographics = NO_DEMOGRAPHICS
    asked_us: int | None = None
    """When the lists of the split are asked for; None: when the later part begins."""

    @property
    def leaked(self) -> int:
        """How many signals of the later part the earlier one has, or are not later than all of it."""
        users, items = (
            np.union1d(getattr(self.train, axis), getattr(self.test, axis)) for axis in ("user_ids", "item_ids")
        )
        train, test = (
            np.searchsorted(users, part.user_ids)[part.user_index] * len(items) + np.searchsorted(items, part.item_ids)
            for part in (self.train, self.test)
        )
        early = int(np.count_nonzero(self.test.time_us <= self.train.time_us.max(initial=0)))
        return max(int(np.count_nonzero(np.isin(test, train))), early)

    @property
    def from_us(self) -> int:
        """When the later part begins."""
        return int(self.test.time_us.min(initial=1 << 62))


def split_by_time(
    whole: Histories,
    test_share: float,
    catalogue: Catalogue = NO_CATALOGUE,
    demographics: Demographics = NO_DEMOGRAPHICS,
) -> Part:
    """Return the earlier and the later part of all rows; the later one has about the share ``test_share``.

    Rows of the same microsecond stay on one side, so that nothing in the earlier part is later than anything in the
    later part. A row is as late as its latest signal: a rating that was changed after the cut is in the later part.

    Raises:
        ValueError: ``test_share`` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share must be between 0 and 1, got {test_share}")
    times = whole.time_us
    if not len(times):
        return Part(whole, whole, whole, catalogue, demographics)
    position = min(int(len(times) * (1 - test_share)), len(times) - 1)
    late = times >= np.partition(times, position)[position]
    return Part(whole.take(~late), whole.take(late), whole, catalogue, demographics)


def evaluate(
    part: Part,
    recipes: Mapping[str, Recipe],
    *,
    all_models: bool = False,
    streamed: tuple[int, int] = STREAMED,
    engine: Engine = fit_model,
    progress: bool = False,
) -> Evaluation:
    """Train each recipe's default model on the earlier part, and measure it beside popularity and recent popularity.

    The models are named as in ``recipes``, whose first recipe defines what counts as liked; with ``all_models`` that
    recipe's other models are measured too, under their own names. Equal recipes are measured once.

    Raises:
        ValueError: no recipe was given.
    """
    if not recipes:
        raise ValueError("evaluate needs at least one recipe")
    judge = next(iter(recipes.values()))
    data = training_data(part.train, judge.confidence, part.catalogue, part.demographics)
    empty = Outcome([], {})
    if not len(data.item_ids):
        return Evaluation(empty, empty, data)
    split, streaming = _Protocol(), _Protocol()
    trained: dict[str, Recommender] = {}
    fallback = np.empty(0, np.float32)
    for name, recipe in recipes.items():
        same = next((other for other, known in recipes.items() if known == recipe), name)
        if same != name:
            split.repeat(name, same)
            streaming.repeat(name, same)
            continue
        own = data
        if recipe.confidence != judge.confidence:
            own = training_data(part.train, recipe.confidence, part.catalogue, part.demographics)
        only = None if all_models and recipe is judge else recipe.default_model
        fitted = local.fit(own, recipe, only=only, engine=engine)
        models = local.recommenders(own, recipe, fitted)
        counted = popularity(own)
        spare = fallback_scores(models, counted)
        named: dict[str, Recommender] = {name: models[recipe.default_model]}
        if recipe is judge:
            named |= {
                POPULAR: Popular(counted),
                POPULAR_RECENT: Popular(popularity(own, recent_days=judge.recent_days)),
            }
            if all_models:
                named |= {other: model for other, model in models.items() if other not in named}
            trained, fallback = models, spare
        for moments, protocol in (
            (_split_moments(part, own, judge), split),
            (_streaming_moments(part, own, judge, 0, streamed), streaming),
        ):
            protocol.add(named, moments, own, spare, progress=progress)
    return Evaluation(split.result(), streaming.result(), data, trained, fallback, streamed)


def delayed(
    part: Part, evaluation: Evaluation, recipe: Recipe, name: str, delays: Mapping[str, int | None]
) -> dict[str, Outcome]:
    """Return streaming of the recipe's default model, called ``name``, when signals count later, and at once."""
    model = evaluation.recommenders[recipe.default_model]
    result = {"at once": Outcome(evaluation.streaming.moments, {name: evaluation.streaming.models[name]})}
    for delay, microseconds in delays.items():
        moments = _streaming_moments(part, evaluation.data, recipe, microseconds, evaluation.streamed)
        lists = lists_of(model, moments, evaluation.data.item_ids, evaluation.fallback)
        result[delay] = Outcome(moments, {name: measure(lists, moments, evaluation.data)})
    return result


def manifest_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Return the figures of ten films by model and metric: ``als_ndcg`` of the split, ``als_streaming_ndcg``."""
    figures = {}
    for prefix, evaluated in (("", evaluation.split), ("streaming_", evaluation.streaming)):
        for model, measured in evaluated.models.items():
            for name, value in (measured.means() | measured.of_all).items():
                metric, _, length = name.partition("@")
                if int(length) == K:
                    figures[f"{model}_{prefix}{metric}"] = value
    return figures


class _Protocol:
    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self._models: dict[str, Measured] = {}

    def add(
        self,
        models: Mapping[str, Recommender],
        moments: list[Moment],
        data: TrainingData,
        spare: Floats,
        *,
        progress: bool,
    ) -> None:
        self._moments = self._moments or moments
        if not moments:
            return
        for name, model in models.items():
            with tqdm(total=len(moments), desc=f"lists of {name}", disable=not progress, mininterval=1) as bar:
                lists = lists_of(model, moments, data.item_ids, spare, bar.update)
            self._models[name] = measure(lists, moments, data)

    def repeat(self, name: str, same: str) -> None:
        if same in self._models:
            self._models[name] = self._models[same]

    def result(self) -> Outcome:
        return Outcome(self._moments, self._models)


def _split_moments(part: Part, data: TrainingData, judge: Recipe) -> list[Moment]:
    early = Timelines(part.train, data.confidence, judge.confidence)
    late = Timelines(part.test, data.confidence, judge.confidence)
    return list(at_the_end(early, late, part.test.user_ids, data.item_ids, part.asked_us or part.from_us))


def _streaming_moments(
    part: Part, data: TrainingData, judge: Recipe, delay_us: int | None, streamed: tuple[int, int] = STREAMED
) -> list[Moment]:
    if part.whole is None:
        return []
    whole = Timelines(part.whole, data.confidence, judge.confidence)
    liking = [user for user in range(len(part.whole.user_ids)) if len(whole.likes(user, part.from_us))]
    random = np.random.default_rng(SEED)
    chosen = sorted(random.permutation(liking)[: streamed[0]].tolist())
    return list(
        before_each_like(
            whole, data.item_ids, chosen, part.from_us, 1 << 63,
            per_user=streamed[1], random=random, delay_us=delay_us,
        )
    )  # fmt: skip

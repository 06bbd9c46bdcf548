"""Reproduces the table of Rendle, Krichene, Zhang & Koren ("Revisiting the Performance of iALS on Item Recommendation
Benchmarks", RecSys 2022) for iALS on MovieLens 1M: ``python -m tests.bench.sampled --movielens DIR``.

The protocol is that of He et al. ("Neural Collaborative Filtering", WWW 2017): of each viewer the last film is held out
and ranked among 99 others drawn at random from those that the viewer never rated; every rating is positive. Sampled
metrics rank models differently from full ones (Krichene & Rendle, KDD 2020): this only checks iALS against the
literature.

``--search`` prints how the parameters were chosen: on each viewer's last film but one, with the last one left out.
Exit status 1 when iALS is below HR@10 0.715 or NDCG@10 0.440.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from services.importer.movielens import open_movielens
from services.trainer.data.dataset import training_data
from services.trainer.data.moments import Timelines, at_the_end
from services.trainer.data.signals import Signals, pivot
from services.trainer.engines import local
from services.trainer.models.recipe import ModelRecipe, Recipe
from tests.bench.quality import ALL_POSITIVE, last_of_each_user, read

PROMISED = (0.715, 0.440)
NEGATIVES, K, SEED = 99, 10, 20_261_127
PARAMETERS: dict[str, Any] = {"factors": 192, "alpha": 3.0, "regularization": 30.0, "iterations": 15}
SEARCHED: list[dict[str, Any]] = [
    {"factors": factors, "alpha": alpha, "regularization": regularization, "recency_boost": boost}
    for factors in (128, 192)
    for alpha in (1.0, 3.0)
    for regularization in (15.0, 30.0, 60.0)
    for boost in (0.0, 10.0)
]


def main(argv: list[str] | None = None) -> int:
    """Print the figures; return 0 when they reach the literature's."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sampled", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat")
    parser.add_argument("--search", action="store_true", help="try parameters on the films before the last ones")
    options = parser.parse_args(argv)
    data = open_movielens(options.movielens)
    ratings = read(data.ratings, data)
    if options.search:
        known = ratings.take(~last_of_each_user(ratings))
        for parameters in SEARCHED:
            print(parameters, *(f"{figure:.4f}" for figure in measured(known, parameters)), flush=True)
        return 0
    started = time.perf_counter()
    hit_rate, ndcg = measured(ratings, PARAMETERS)
    print(f"iALS {PARAMETERS}: HR@10 {hit_rate:.4f}, NDCG@10 {ndcg:.4f}, {time.perf_counter() - started:.0f} s")
    return 0 if (hit_rate, ndcg) >= PROMISED and ndcg >= PROMISED[1] else 1


def measured(ratings: Signals, parameters: dict[str, Any]) -> tuple[float, float]:
    """Return HR@10 and NDCG@10 of each viewer's last film among 99 others."""
    last = last_of_each_user(ratings)
    train, test = pivot(ratings.take(~last)), pivot(ratings.take(last))
    models = {"als": ModelRecipe(kind="als", parameters=parameters), "popular": ModelRecipe(kind="popular")}
    recipe = Recipe(confidence=ALL_POSITIVE, models=models)
    data = training_data(train, recipe.confidence)
    model = local.recommenders(data, recipe, local.fit(data, recipe, only="als"))["als"]
    random = np.random.default_rng(SEED)
    early, late = (Timelines(histories, recipe.confidence) for histories in (train, test))
    ranks = []
    for moment in at_the_end(early, late, test.user_ids, data.item_ids, int(train.time_us.max())):
        scores = model.score(moment.history)
        target = np.flatnonzero(data.item_ids == moment.targets[0])
        if scores is None or not len(target):
            ranks.append(NEGATIVES)
            continue
        never_rated = np.setdiff1d(np.arange(len(scores)), [*moment.history.indices, *target])
        others = random.choice(never_rated, NEGATIVES, replace=False)
        ranks.append(int(np.count_nonzero(scores[others] >= scores[target[0]])))
    found = np.array(ranks)
    return float(np.mean(found < K)), float(np.mean(np.where(found < K, 1 / np.log2(found + 2), 0)))


if __name__ == "__main__":
    sys.exit(main())

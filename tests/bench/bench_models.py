"""Measures what a list costs by each kind of model: ``python -m tests.bench.bench_models --movielens DIR``.

One thread, MovieLens 1M, the viewers of T80/20 (`tests.bench.quality`), each scored from their whole history with
nothing cached, as after a like. Memory is that of the model's own arrays. LightGBM's own library evaluates the ranker's
trees beside ours, on the same rows. Exit status 1 when the default model takes a millisecond or more (median).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import lightgbm
import numpy as np
from threadpoolctl import threadpool_limits

from services.importer.movielens import open_movielens
from services.models.base import History
from services.models.features import feature_names
from services.models.kinds.two_stage import TwoStage
from services.trainer.data.catalogue import catalogue_of
from services.trainer.data.dataset import training_data
from services.trainer.data.demographics import NO_DEMOGRAPHICS
from services.trainer.data.moments import Timelines, at_the_end
from services.trainer.engines import local
from services.trainer.models.defaults import DEFAULTS
from services.trainer.models.recipe import Recipe
from tests.bench.quality import CHAMPION, in_file, read, time_split

VIEWERS = 400
GOAL_MICROSECONDS = 1_000
ROWS = 250
"""About as many films as are proposed for a list."""


def main(argv: list[str] | None = None) -> int:
    """Print a table; return 0 when the default model is fast enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_models", description=__doc__)
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings.dat and ratings_last20.dat")
    options = parser.parse_args(argv)
    files = open_movielens(options.movielens)
    ratings = read(files.ratings, files)
    films = catalogue_of({int(film.item_id): (film.year, tuple(film.genres)) for film in files.films})
    late = in_file(ratings, read(options.movielens / "ratings_last20.dat", files))
    part = time_split(ratings, late, films, NO_DEMOGRAPHICS)
    recipe = Recipe(models=DEFAULTS, default_model=CHAMPION)
    data = training_data(part.train, recipe.confidence, films)
    fitted = local.fit(data, recipe)
    models = local.recommenders(data, recipe, fitted)
    early, test = (Timelines(histories, recipe.confidence) for histories in (part.train, part.test))
    moments = at_the_end(early, test, part.test.user_ids, data.item_ids, part.from_us)
    viewers = [moment.history for moment in moments][:VIEWERS]
    likes = int(np.median([viewer.likes for viewer in viewers]))
    print(f"{len(data.item_ids)} films; {len(viewers)} viewers, {likes} likes (median)")
    medians = {}
    with threadpool_limits(1, "blas"):  # type: ignore[no-untyped-call]
        for name, model in models.items():
            medians[name], slow = quantiles(model.score, viewers)
            own = sum(array.nbytes for array in fitted[name].arrays.values()) / 1e6
            print(f"{name:18} p50 {medians[name]:7.0f} µs   p95 {slow:7.0f} µs   {own:7.1f} MB")
        ranker = models[CHAMPION]
        assert isinstance(ranker, TwoStage)
        beside_lightgbm(ranker, fitted[CHAMPION].arrays["text"])
    return 0 if medians[CHAMPION] < GOAL_MICROSECONDS else 1


def quantiles(score: Callable[[History], object], viewers: Sequence[History]) -> tuple[float, float]:
    """Return median and 95th percentile in µs."""
    took = []
    for viewer in viewers:
        fresh = replace(viewer)  # nothing cached
        start = time.perf_counter()
        score(fresh)
        took.append(time.perf_counter() - start)
    return float(np.median(took) * 1e6), float(np.quantile(took, 0.95) * 1e6)


def beside_lightgbm(ranker: TwoStage, text: np.ndarray) -> None:  # type: ignore[type-arg]
    """Print how long both take for the trees."""
    booster = lightgbm.Booster(model_str=text.tobytes().decode())
    rows = np.random.default_rng(1).normal(size=(ROWS, len(feature_names(DEFAULTS[CHAMPION].uses)))).astype(np.float32)
    took: dict[str, list[float]] = {"NumPy": [], "LightGBM": []}
    for _ in range(200):
        for name, predict in (("NumPy", ranker.trees.predict), ("LightGBM", booster.predict)):
            start = time.perf_counter()
            predict(rows)
            took[name].append(time.perf_counter() - start)
    ours, theirs = (float(np.median(took[name]) * 1e6) for name in took)
    print(f"{ROWS} rows by the trees: NumPy {ours:.0f} µs, LightGBM {theirs:.0f} µs, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
